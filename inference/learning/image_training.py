"""Trains a LoRA of an image model on the pictures of a folder: LoRA on the denoiser's attention, text encoders frozen.

Half of each batch is the model's own renders of other prompts, whose teacher is the same model without the adapter: so
other prompts keep their pictures. Latents and embeddings are computed once per picture and prompt.

Source: Diffusers' training recipes, examples/dreambooth; DreamBooth's prior preservation (arXiv:2208.12242), with the
teacher's prediction in place of the noise.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bot.ports import NO_REPLAY, TrainingReport, TrainingRequest
from inference.diffusion.lora import base_model_family
from inference.learning.adapter_folder import write_adapter
from inference.learning.denoiser_calls import Arguments
from inference.learning.image_comparison import (
    SampleGroups,
    TestedPictures,
    compare_pictures,
    describe_samples,
    list_samples,
    render_samples,
    save_samples,
)
from inference.learning.image_model import RANK, TrainedImageModel
from inference.learning.image_prompts import caption_of, known_prompts, new_prompts, prior_prompts
from inference.learning.training_folder import Example, open_image, read_examples
from inference.learning.training_loop import LoopSettings, LoopState, TrainingLoop, load_checkpoint, save_atomically
from inference.learning.training_session import TrainingSession, peak_memory_mb

PRIOR_PICTURES, KNOWN_PICTURES = 48, 24
"""Own renders that are kept as they are, and those of the test."""
SHORT_SHARE = 0.1
"""Of rows whose caption is the words alone: people will ask with fewer words than captions have."""
LATENTS = "latents.pt"
_VERSION = 1
"""Of the recipe: checkpoints of another are not resumed."""


@dataclass(frozen=True)
class LoraRecipe:
    """`rows`: pictures a step, and as many own renders. `views`: how often each picture is seen."""

    rows: int
    learning_rate: float
    views: int
    min_steps: int
    max_steps: int = 3000

    def count_steps(self, pictures: int) -> int:
        return min(self.max_steps, max(self.min_steps, self.views * pictures // self.rows))


SMALL = LoraRecipe(rows=8, learning_rate=1e-3, views=100, min_steps=250)
USUAL = LoraRecipe(rows=1, learning_rate=1e-4, views=60, min_steps=600)
"""The rate of Diffusers' recipes."""
_SMALL_WEIGHTS = 100_000_000


@dataclass(frozen=True)
class Material:
    """What is trained on, one entry a picture: latents of one row, and the denoiser's arguments for the prompt.

    `words`: the arguments for the words alone, which sometimes stand for the whole caption.
    """

    latents: Sequence[Tensor]
    calls: Sequence[Arguments]
    words: Arguments | None = None

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[Tensor, list[Arguments]]:
        numbers, is_short = rng.integers(len(self.latents), size=rows), rng.random(rows) < SHORT_SHARE
        calls = [
            self.words if short and self.words is not None else self.calls[number]
            for number, short in zip(numbers, is_short, strict=True)
        ]
        return torch.cat([self.latents[number] for number in numbers]), calls


class ImageLoss:
    """The error of a step: on pictures with their captions, and on own renders against the model without adapter."""

    def __init__(self, model: TrainedImageModel, pictures: Material, prior: Material | None, rows: int) -> None:
        self._model, self._pictures, self._prior, self._rows = model, pictures, prior, rows

    def __call__(self, step: int, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        loss = self._error(self._pictures, rng, noise, is_taught=False)
        if self._prior is not None:
            loss = loss + self._error(self._prior, rng, noise, is_taught=True)
        return loss

    def _error(
        self, material: Material, rng: np.random.Generator, noise: torch.Generator, *, is_taught: bool
    ) -> Tensor:
        model = self._model
        clean, calls = material.draw(self._rows, rng)
        clean = clean.to(model.device)
        drawn = torch.randn(clean.shape, generator=noise).to(clean)
        rows = model.noise.add(clean, drawn, model.noise.draw_levels(len(clean), rng))
        target = rows.target
        if is_taught:
            with torch.no_grad(), model.without_adapter():
                target = model.calls.predict(calls, rows.noisy, rows.times)
        return F.mse_loss(model.calls.predict(calls, rows.noisy, rows.times), target)


def train_image_adapter(session: TrainingSession) -> TrainingReport:
    """Raises: TrainingRefused; what the libraries raise."""
    request = session.request
    examples = read_examples(session, require_texts=False)
    captions = read_captions(session, examples)
    model = TrainedImageModel(request.model, request.device)
    session.open_work(_fingerprint(request, model, examples, captions))
    training = ImageTraining(session, model, examples, captions)
    return training.run()


def read_captions(session: TrainingSession, examples: Sequence[Example]) -> list[str]:
    """Raises: TrainingRefused: a picture has none."""
    return [caption_of(example, session.request) for example in examples]


class ImageTraining:
    def __init__(
        self, session: TrainingSession, model: TrainedImageModel, examples: Sequence[Example], captions: Sequence[str]
    ) -> None:
        self._session, self._model = session, model
        self._examples, self._captions = examples, captions
        weights = sum(parameter.numel() for parameter in model.denoiser.parameters())
        self._recipe = SMALL if weights < _SMALL_WEIGHTS else USUAL
        self._is_demo = model.spec.demo

    def run(self) -> TrainingReport:
        session, model, request = self._session, self._model, self._session.request
        prior_texts = self._list_prior()
        stored = load_checkpoint(session.work / LATENTS) or self._make_latents(prior_texts)
        words = self._record([request.words])[0] if request.words else None
        pictures = Material(stored["pictures"], self._record(self._captions), words)
        prior = Material(stored["prior"], self._record(prior_texts)) if prior_texts else None
        before = self._render(0)
        parameters = model.add_adapter(request.seed)
        steps = request.steps or self._recipe.count_steps(len(self._examples))
        settings = LoopSettings(steps=steps, learning_rate=self._recipe.learning_rate, weight_decay=0.01)
        loss = ImageLoss(model, pictures, prior, self._recipe.rows)
        loop = TrainingLoop(session, parameters, settings, loss)
        state = loop.run()
        after = self._render(1)
        tested = compare_pictures(model, stored["pictures"], before, after)
        return self._write(tested, state, loop.restored_s + session.seconds)

    def _list_prior(self) -> list[str]:
        request = self._session.request
        if request.replay == NO_REPLAY:
            return []
        return prior_prompts(self._captions, request.words, PRIOR_PICTURES, is_demo=self._is_demo)

    def _make_latents(self, prior_texts: Sequence[str]) -> dict[str, list[Tensor]]:
        """Of the folder's pictures, and of own renders."""
        session, model = self._session, self._model
        pictures = []
        for number, example in enumerate(self._examples):
            session.proceed("encoding", number, len(self._examples))
            pictures.append(model.encode(open_image(example.path)))
        renders = render_samples(session, model, prior_texts, "replaying", 0, len(prior_texts), kept=True)
        prior = [model.encode(sample.image) for sample in renders]
        save_atomically({"pictures": pictures, "prior": prior}, session.work / LATENTS)
        return {"pictures": pictures, "prior": prior}

    def _record(self, prompts: Sequence[str]) -> list[Arguments]:
        known: dict[str, Arguments] = {}
        for number, prompt in enumerate(prompts):
            self._session.proceed("encoding", number, len(prompts))
            if prompt not in known:
                known[prompt] = self._model.calls.record(prompt)
        return [known[prompt] for prompt in prompts]

    def _render(self, round_number: int) -> SampleGroups:
        """Pictures of the test's prompts; `round_number` 1: with the adapter."""
        new = new_prompts(self._captions, self._session.request.words, is_demo=self._is_demo)
        known = known_prompts(KNOWN_PICTURES, is_demo=self._is_demo)
        total = 2 * (len(new) + len(known))
        done = round_number * total // 2
        kept = round_number == 0
        rendered = render_samples(self._session, self._model, [*new, *known], "testing", done, total, kept=kept)
        return rendered[: len(new)], rendered[len(new) :]

    def _write(self, tested: TestedPictures, state: LoopState, seconds: float) -> TrainingReport:
        request, model, pairs = self._session.request, self._model, tested.pairs()
        new_before, new_after = tested.new_scores
        known_before, known_after = tested.known_scores
        report = TrainingReport(
            kind="image",
            new_before=new_before,
            new_after=new_after,
            old_before=known_before,
            old_after=known_after,
            examples=describe_samples(tested),
            trained=tuple(one.as_trained(request.corrections, is_held_out=False) for one in self._examples),
            samples=list_samples(len(pairs)),
            words=request.words,
            family=base_model_family(model.pipeline),
            revision=model.revision,
            steps=state.step,
            seconds=seconds,
            peak_mb=peak_memory_mb(),
            losses=tuple(state.losses),
        )

        def save(folder: Any) -> None:
            model.save_adapter(folder)
            save_samples(folder, model, pairs)

        return write_adapter(request, report, save)


def _fingerprint(
    request: TrainingRequest, model: TrainedImageModel, examples: Sequence[Example], captions: Sequence[str]
) -> str:
    """Of everything that checkpoint and latents depend on."""
    facts = {
        "version": _VERSION,
        "model": [model.revision, model.spec.dtype, *model.size, model.spec.steps, model.spec.guidance_scale],
        "loras": list(model.spec.loras),
        "examples": [[example.image, caption] for example, caption in zip(examples, captions, strict=True)],
        "request": [request.words, request.seed, request.steps, request.replay, RANK],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
