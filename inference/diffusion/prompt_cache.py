"""Encodes the prompts of tasks with a cache: equal prompts are encoded once for all users.

A prompt with edits has a text in each step. Each is encoded once, and all are padded to one length, so that the image
stays in its batch when its text changes.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bot.ports import Task
from bot.prompts.grammar import plain_text, prompt_at, step_texts, task_prompts
from inference.diffusion.clip_encoding import (
    PromptEmbeds,
    PromptRequest,
    count_chunks,
    encode_batch,
    encode_prompt,
    max_clip_skip,
    supports_prompt_weights,
)
from inference.diffusion.lora import DatedLoras, LoraManager, LoraSet, requested_loras
from inference.diffusion.prompt_swap import PromptSwap
from inference.diffusion.textual_inversion import load_vectors, requested_inversions
from inference.engine.syntax_notes import syntax_notes
from inference.engine.tokenizer_notes import prompt_notes

_MB = 2**20


_DatedFiles = tuple[tuple[str, str, int], ...]
"""Trigger word, path and modification time of inversions."""
_Pair = tuple[str, str]
"""Prompt and negative prompt."""


@dataclass(frozen=True)
class StepPrompts:
    """The prompts of each step of one image; of a single step if none has edits."""

    pairs: Sequence[_Pair]
    uses_guidance: bool
    clip_skip: int = 0

    @classmethod
    def of(
        cls, prompt: str, negative_prompt: str, steps: int, *, uses_guidance: bool, clip_skip: int = 0
    ) -> "StepPrompts":
        pairs = list(zip(step_texts(prompt, steps), step_texts(negative_prompt, steps), strict=True))
        if negative_prompt:  # in a step without words, it is an empty text rather than none
            pairs = [(positive, negative or " ") for positive, negative in pairs]
        return cls(pairs if len({*pairs}) > 1 else pairs[:1], uses_guidance, clip_skip)

    @property
    def has_edits(self) -> bool:
        return len(self.pairs) > 1

    @property
    def texts(self) -> set[str]:
        """That are encoded."""
        return {text for prompt, negative in self.pairs for text in (prompt, negative)[: 1 + self.uses_guidance]}

    @property
    def pairs_to_encode(self) -> list[_Pair]:
        """Each prompt and each negative prompt at least once."""
        prompt, negative = self.pairs[0]
        return list(
            dict.fromkeys([*((one, negative) for one, _ in self.pairs), *((prompt, one) for _, one in self.pairs)])
        )

    def request(self, prompt: str, negative_prompt: str, chunk_count: int) -> PromptRequest:
        return PromptRequest(
            prompt=prompt,
            negative_prompt=negative_prompt,
            uses_guidance=self.uses_guidance,
            chunk_count=chunk_count,
            clip_skip=self.clip_skip,
        )

    def combine(self, encoded: Mapping[_Pair, PromptEmbeds], prompt: str, negative: str) -> PromptEmbeds:
        """The embeddings of a step from those of `pairs_to_encode`."""
        first_prompt, first_negative = self.pairs[0]
        positive, other = encoded[prompt, first_negative], encoded[first_prompt, negative]
        return replace(positive, negative_embeds=other.negative_embeds, negative_pooled=other.negative_pooled)


class PromptEncoder:
    """`clip_encoding.encode_prompt` with an LRU cache.

    Not thread-safe: all calls come from one thread. `limit_mb`: size of the cached tensors, MiB.
    """

    def __init__(self, pipeline: Any, limit_mb: float = 64, loras: LoraManager | None = None) -> None:
        self._pipeline = pipeline
        self._limit = int(limit_mb * _MB)
        self._loras = loras
        self._entries: OrderedDict[Any, PromptEmbeds] = OrderedDict()
        self._nbytes = 0
        self._vectors: dict[tuple[str, int], Mapping[int, torch.Tensor]] = {}

    def encode_prompt(
        self,
        prompt: str,
        negative_prompt: str,
        uses_guidance: bool,
        *,
        loras: LoraSet = (),
        inversions: Mapping[str, str] | None = None,
        chunk_count: int = 1,
        clip_skip: int = 0,
    ) -> PromptEmbeds:
        """Args:
            loras: also applied to the text encoders before they encode.
            inversions: files by trigger word.
            chunk_count, clip_skip: see `PromptRequest`.

        Raises: InvalidOption: a LoRA or an inversion does not fit.
        """
        files = _dated_files(inversions)
        key = _cache_key(prompt, negative_prompt, uses_guidance, self._date(loras), files, chunk_count, clip_skip)
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        if self._loras is not None:
            self._loras.apply(loras)
        embeds = encode_prompt(
            self._pipeline,
            prompt,
            negative_prompt,
            uses_guidance=uses_guidance,
            vectors=self._vectors_of(files),
            chunk_count=chunk_count,
            clip_skip=clip_skip,
        )
        self._store(key, embeds)
        return embeds

    def encode_steps(
        self, steps: StepPrompts, *, loras: LoraSet = (), inversions: Mapping[str, str] | None = None
    ) -> list[PromptEmbeds]:
        """The embeddings of each step, all of one length. Raises: InvalidOption: a LoRA or inversion does not fit."""
        chunk_count = count_chunks(self._pipeline, steps.texts, self._vectors_of(_dated_files(inversions)))
        pairs = steps.pairs_to_encode
        if not inversions:
            self.warm_up([steps.request(*pair, chunk_count) for pair in pairs], loras)
        encoded = {
            pair: self.encode_prompt(
                *pair,
                steps.uses_guidance,
                loras=loras,
                inversions=inversions,
                chunk_count=chunk_count,
                clip_skip=steps.clip_skip,
            )
            for pair in pairs
        }
        return [steps.combine(encoded, prompt, negative) for prompt, negative in steps.pairs]

    def warm_up(self, requests: Sequence[PromptRequest], loras: LoraSet = ()) -> None:
        """Encode several prompts without inversions in one batch, for the next calls."""
        dated = self._date(loras)
        wanted = {
            _cache_key(
                one.prompt, one.negative_prompt, one.uses_guidance, dated, (), one.chunk_count, one.clip_skip
            ): one
            for one in requests
        }
        missing = {key: request for key, request in wanted.items() if key not in self._entries}
        if len(missing) < 2:
            return
        if self._loras is not None:
            self._loras.apply(loras)
        for key, embeds in zip(missing, encode_batch(self._pipeline, list(missing.values())), strict=True):
            self._store(key, embeds)

    def clear(self) -> None:
        self._entries.clear()
        self._vectors.clear()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Size of the cached embeddings."""
        return self._nbytes

    def _date(self, loras: LoraSet) -> DatedLoras:
        return self._loras.date(loras) if self._loras is not None else ()

    def _store(self, key: Any, embeds: PromptEmbeds) -> None:
        if embeds.nbytes > self._limit:
            return
        self._entries[key] = embeds
        self._nbytes += embeds.nbytes
        while self._nbytes > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._nbytes -= oldest.nbytes

    def _vectors_of(self, files: _DatedFiles) -> dict[str, Mapping[int, torch.Tensor]]:
        return {word: self._load_vectors(path, modified_at) for word, path, modified_at in files}

    def _load_vectors(self, path: str, modified_at: int) -> Mapping[int, torch.Tensor]:
        if (path, modified_at) not in self._vectors:
            self._vectors[path, modified_at] = load_vectors(Path(path))
        return self._vectors[path, modified_at]


def _dated_files(inversions: Mapping[str, str] | None) -> _DatedFiles:
    return tuple(sorted((word, path, Path(path).stat().st_mtime_ns) for word, path in (inversions or {}).items()))


def _cache_key(
    prompt: str,
    negative_prompt: str,
    uses_guidance: bool,
    loras: DatedLoras,
    files: _DatedFiles,
    chunk_count: int,
    clip_skip: int,
) -> Any:
    """Everything the embeddings depend on."""
    return (prompt, negative_prompt if uses_guidance else None, loras, files, chunk_count, clip_skip)


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """An image's prompts as arguments of a pipeline's call.

    Attributes:
        by_step: the embeddings of each step, if the prompts have edits; the arguments are the first ones.
    """

    arguments: Mapping[str, Any]
    by_step: Sequence[PromptEmbeds] = ()


def prompt_swap_for(conditioning: Conditioning, scheduler: Any) -> PromptSwap | None:
    """What changes the prompt between the steps of this scheduler; None: nothing does."""
    passes = int(getattr(scheduler, "order", 1))
    return PromptSwap(by_step=conditioning.by_step, passes_per_step=passes) if conditioning.by_step else None


class PromptConditioner:
    """Turns a task's prompts into arguments of a pipeline's call, for any text encoder."""

    def __init__(self, pipeline: Any, loras: LoraManager) -> None:
        self.loras = loras
        self._pipeline = pipeline
        self._encoder = PromptEncoder(pipeline, loras=loras) if supports_prompt_weights(pipeline) else None
        self.max_clip_skip = 0 if self._encoder is None else max_clip_skip(pipeline)
        """Layers of the text encoders that can be left out; 0: the pipeline encodes prompts in a way of its own."""

    def conditioning_for(self, task: Task, index: int) -> Conditioning:
        """For image `index`. Raises: InvalidOption: a LoRA or inversion of the prompt does not fit."""
        if self._encoder is None:
            negative = plain_text(_negative_prompt(task)) or None
            prompt = plain_text(prompt_at(task.options, index))
            return Conditioning(arguments={"prompt": prompt, "negative_prompt": negative})
        by_step = self._encode(self._encoder, task, index)
        return Conditioning(arguments=by_step[0].pipeline_arguments(), by_step=by_step if len(by_step) > 1 else ())

    def swap_for(self, task: Task, index: int, scheduler: Any) -> PromptSwap | None:
        """What gives denoiser calls the prompts of this task; None: the pipeline encodes prompts in a way of its own.

        Raises: InvalidOption: a LoRA or inversion of the prompt does not fit.
        """
        if self._encoder is None:
            return None
        by_step = self._encode(self._encoder, task, index)
        return PromptSwap(by_step=by_step, passes_per_step=int(getattr(scheduler, "order", 1)))

    def _encode(self, encoder: PromptEncoder, task: Task, index: int) -> list[PromptEmbeds]:
        """The embeddings of each step; one for all if the prompt has no edits."""
        steps = _step_prompts(task, index)
        loras, inversions = requested_loras(task, index), requested_inversions(task)
        if steps.has_edits:
            return encoder.encode_steps(steps, loras=loras, inversions=inversions)
        embeds = encoder.encode_prompt(
            *steps.pairs[0], steps.uses_guidance, loras=loras, inversions=inversions, clip_skip=steps.clip_skip
        )
        return [embeds]

    def warm_up(self, images: Sequence[tuple[Task, int]]) -> None:
        """Encode the prompts of several images, tasks with indices, in one batch; errors come in `conditioning_for`."""
        if self._encoder is None or len(images) < 2:
            return
        plain = [
            (task, index)
            for task, index in images
            if not requested_loras(task, index) and not requested_inversions(task)
        ]
        with contextlib.suppress(Exception):
            steps = [_step_prompts(task, index) for task, index in plain]
            self._encoder.warm_up([one.request(*one.pairs[0], 1) for one in steps if not one.has_edits])

    def prompt_notes(self, task: Task, *, is_demo: bool) -> tuple[str, ...]:
        """Sentences for the user."""
        is_read_in_full = self._encoder is not None
        prompts = task_prompts(task.options)
        notes = prompt_notes(
            self._pipeline,
            prompts,
            is_demo=is_demo,
            is_read_in_full=is_read_in_full,
            trigger_words=(*requested_inversions(task), *_lora_words(task)),
        )
        return (*notes, *syntax_notes(prompts, _negative_prompt(task), is_read_in_full=is_read_in_full))


def _lora_words(task: Task) -> list[str]:
    """Single words, which prompts may put adjectives between."""
    return [word for addon in task.addons for words in addon.words for word in words.split()]


def _step_prompts(task: Task, index: int) -> StepPrompts:
    steps = int(task.options.get("steps", 1))
    return StepPrompts.of(
        prompt_at(task.options, index),
        _negative_prompt(task),
        steps,
        uses_guidance=float(task.options.get("guidance_scale", 0)) > 1,
        clip_skip=skipped_layers(task),
    )


def skipped_layers(task: Task) -> int:
    """Of the text encoders, as Diffusers counts; the option counts like A1111, where 1 leaves out none."""
    return max(0, int(task.options.get("clip_skip", 1)) - 1)


def _negative_prompt(task: Task) -> str:
    return str(task.options.get("negative_prompt") or "")
