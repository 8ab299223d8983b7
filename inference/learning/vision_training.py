"""Trains an adapter of a BLIP-2: its vision encoder stays as it is, LoRA layers go on attention only.

More than half of each step is replay: what the model answered before the training, with its probabilities. Sources:
LoRA (arXiv 2106.09685), "Learning without Forgetting" (arXiv 1606.09282).
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bot.errors import TrainingRefused
from bot.models import ModelSpec
from bot.ports import NO_REPLAY, TrainingReport, TrainingRequest
from inference.checkpoints.resolve import model_path, model_revision
from inference.learning import replay
from inference.learning.adapter_folder import base_model_name, write_adapter
from inference.learning.blip_texts import BlipTexts
from inference.learning.held_out import split_examples
from inference.learning.replay import ReplayText
from inference.learning.report_card import AnsweredTexts, make_report
from inference.learning.training_folder import METADATA, Example, read_examples, require_enough
from inference.learning.training_loop import LoopSettings, TrainingLoop, can_train_in_bfloat16
from inference.learning.training_session import TrainingSession
from inference.learning.vision_features import VisionFeatures
from inference.memory.offload import offloader_of
from inference.vision.loader import load_blip

TARGETS = (
    r".*qformer\..*\.attention\.(query|key|value)",
    r".*qformer\..*attention\.output\.dense",
    r".*language_model\..*\.(self_attn|encoder_attn)\.(q_proj|k_proj|v_proj|out_proj|o_proj)",
    r".*language_model\..*\.(SelfAttention|EncDecAttention)\.(q|v)",
    r".*language_projection",
)
"""Linear layers that keep a request's rows apart, so that requests with different adapters can share a pass. The dots
keep out names that only end alike, such as `intermediate_query`."""
RANK, ALPHA = 8, 16
RATE_BY_WIDTH = 0.4
"""The learning rate times the width of the language model."""
BATCH = 16
"""New texts of a step; as many images are replayed, with `REPLAYED_TEXTS` each."""
REPLAYED_TEXTS = 2
OWN_SHARE = 0.25
"""Of replayed images: those of the training folder, which show what is new."""
OLD_WEIGHT = 0.6
"""Of the loss of a step: what is replayed."""
EPOCHS, MIN_STEPS, MAX_STEPS = 40, 300, 3000
FORMS, REPLAY_FORMS = 8, 4
"""Variants of images, where the vision encoder is small or on a GPU."""
SMALL_ENCODER = 50_000_000
"""Weights."""
TESTED = "tested.json"
"""Answers to the questions of the test, before the training."""
_ANSWERED_TOGETHER = 32
_FORMAT = "2"
"""Of features and checkpoints: a change starts trainings anew."""


def train_vision_adapter(session: TrainingSession) -> TrainingReport:
    """Raises: TrainingRefused, ModelUnavailable, OutOfMemory, OSError."""
    return _VisionTraining(session).run()


class _VisionTraining:
    def __init__(self, session: TrainingSession) -> None:
        self._session = session
        self._request = session.request
        self._examples = read_examples(session)
        self._model = training_model(self._request.model, self._request.device)
        folder = _require_blip(self._model)
        self._revision = model_revision(self._request.model, folder)
        self._blip, self._processor = load_blip(self._model, folder, self._request.device)
        _require_whole(self._model, self._blip)
        self._texts = BlipTexts(self._blip, self._processor, self._model)
        self._examples = _choose_answerable(self._examples, self._texts, self._model, self._request)

    def run(self) -> TrainingReport:
        self._session.open_work(self._fingerprint())
        trained, tested = split_examples(self._examples, self._request.seed)
        self._collect_images(trained, tested)
        old_texts, old_tests = self._ask_before(trained)
        new_tests = [ReplayText(self._index[one.path], one.question, one.answer) for one in tested]
        before = self._answer_tests([*new_tests, *old_tests], kept=True)
        adapted = self._add_adapter()
        loop = self._make_loop(adapted, trained, old_texts)
        state = loop.run()
        after = self._answer_tests([*new_tests, *old_tests])
        names = [one.file for one in tested] + [self._paths[text.image].name for text in old_tests]
        report = make_report(
            self._request,
            AnsweredTexts(new_tests, old_tests, names, before, after),
            trained=[
                *(one.as_trained(self._request.corrections, is_held_out=False) for one in trained),
                *(one.as_trained(self._request.corrections, is_held_out=True) for one in tested),
            ],
            state=state,
            seconds=loop.restored_s + self._session.seconds,
            revision=self._revision,
        )
        return write_adapter(self._request, report, partial(_save_adapter, adapted, base_model_name(self._model)))

    # ------------------------------------------------------------ what is trained

    def _fingerprint(self) -> str:
        request = self._request
        parts = [
            *(_FORMAT, self._revision, request.seed, request.replay, request.device, request.steps, request.name),
            sorted(example.digest for example in self._examples),
            _listing(request.replay),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _collect_images(self, trained: Sequence[Example], tested: Sequence[Example]) -> None:
        """All images of the training, and the vision encoder's output for them."""
        self._replayed, self._old_tested = replay.find_images(self._session)
        own = list(dict.fromkeys(example.path for example in trained))
        paths = [*own, *dict.fromkeys(example.path for example in tested), *self._replayed, *self._old_tested]
        self._paths = paths
        self._index = {path: number for number, path in enumerate(paths)}
        forms, replay_forms = (FORMS, REPLAY_FORMS) if self._can_vary() else (1, 1)
        counts = dict.fromkeys(own, forms) | dict.fromkeys(self._replayed, replay_forms)
        variants = [counts.get(path, 1) for path in paths]
        self._features = VisionFeatures(self._session, paths, variants, self._preprocess, self._encode)
        self._features.compute()

    def _can_vary(self) -> bool:
        size = sum(weight.numel() for weight in self._blip.vision_model.parameters())
        return self._request.device != "cpu" or size <= SMALL_ENCODER

    def _preprocess(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self._processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
        return pixels

    @torch.inference_mode()
    def _encode(self, pixels: Tensor) -> Tensor:
        vision = self._blip.vision_model
        states: Tensor = vision(pixels.to(self._blip.device, vision.dtype)).last_hidden_state
        return states

    def _load_states(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        return self._features.load(rows, self._blip.device, self._blip.vision_model.dtype)

    # ------------------------------------------------------------ replay

    def _ask_before(self, trained: Sequence[Example]) -> tuple[list[ReplayText], list[ReplayText]]:
        """Old answers that are replayed, and those that test; the model has no adapter yet."""
        asked_most = replay.most_asked(self._examples)
        questions = list(dict.fromkeys(["", *replay.QUESTIONS, *asked_most]))
        learned: dict[int, set[str]] = {}
        for example in trained:
            learned.setdefault(self._index[example.path], set()).add(example.question)
        own = [*learned, *(self._index[path] for path in self._replayed)]
        if self._request.replay == NO_REPLAY:
            own = []
        tested = replay.old_questions(len(self._old_tested), asked_most)
        asked = [
            *((image, question) for image in own for question in dict.fromkeys([*questions, *learned.get(image, ())])),
            *((self._index[path], question) for path in self._old_tested for question in tested),
        ]
        texts = replay.answer_replay(self._session, asked, partial(self._answer, "replaying"))
        tests = {self._index[path] for path in self._old_tested}
        kept = replay.choose_replayed([text for text in texts if text.image not in tests], learned)
        return kept, [text for text in texts if text.image in tests]

    def _answer(self, stage: str, asked: Sequence[tuple[int, str]], done: int = 0, total: int = 0) -> list[str]:
        """After `done` of `total` others. Questions of one length go together, as padding costs time."""
        order = sorted(range(len(asked)), key=lambda number: (len(asked[number][1]), asked[number][1]))
        answers = [""] * len(asked)
        for start in range(0, len(order), _ANSWERED_TOGETHER):
            self._session.proceed(stage, done + start, total or len(order))
            part = order[start : start + _ANSWERED_TOGETHER]
            states = self._load_states([(asked[number][0], 0) for number in part])
            for number, text in zip(part, self._texts.answer(states, [asked[n][1] for n in part]), strict=True):
                answers[number] = text
        return answers

    def _answer_tests(self, tests: Sequence[ReplayText], *, kept: bool = False) -> list[str]:
        """`kept`: without an adapter, so that the answers stay what they are."""
        asked = [(test.image, test.question) for test in tests]
        if kept:
            return replay.keep_answers(self._session, TESTED, asked, partial(self._answer, "testing"))
        return self._answer("testing", asked)

    # ------------------------------------------------------------ training

    def _add_adapter(self) -> PeftModel:
        torch.manual_seed(self._request.seed)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="|".join(TARGETS), lora_dropout=0.0, bias="none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that Transformers has renamed
            adapted = get_peft_model(self._blip, config)
        adapted.eval()  # dropout of the model itself stays off
        return adapted

    def _make_loop(
        self, adapted: PeftModel, trained: Sequence[Example], old_texts: Sequence[ReplayText]
    ) -> TrainingLoop:
        parameters = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        steps = self._request.steps or min(MAX_STEPS, max(MIN_STEPS, EPOCHS * len(trained) // BATCH))
        width = self._blip.config.text_config.hidden_size
        settings = LoopSettings(steps=steps, learning_rate=RATE_BY_WIDTH / width)
        batches = _Batches(trained, self._index, old_texts, self._features.variants)

        def loss(step: int, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
            new = self._new_loss(*batches.sample_new(rng))
            if not old_texts:
                return new
            return (1 - OLD_WEIGHT) * new + OLD_WEIGHT * self._old_loss(adapted, *batches.sample_old(rng))

        return TrainingLoop(self._session, parameters, settings, loss)

    def _new_loss(self, rows: Sequence[tuple[int, int]], texts: Sequence[tuple[str, str]]) -> Tensor:
        logits, tokens = self._texts.predict(self._texts.encode(self._load_states(rows)), texts)
        return F.cross_entropy(logits, tokens)

    def _old_loss(
        self, adapted: PeftModel, rows: Sequence[tuple[int, int]], texts: Sequence[tuple[str, str]]
    ) -> Tensor:
        """Cross entropy with the probabilities of the model without its adapter, and with what it answered."""
        states = self._load_states(rows)
        with torch.no_grad(), adapted.disable_adapter():
            known, _ = self._predict_replayed(states, texts)
        logits, tokens = self._predict_replayed(states, texts)
        return (F.cross_entropy(logits, known.softmax(-1)) + F.cross_entropy(logits, tokens)) / 2

    def _predict_replayed(self, states: Tensor, texts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        return self._texts.predict(self._texts.encode(states).repeat_interleave(REPLAYED_TEXTS, dim=0), texts)


class _Batches:
    """Draws what a step learns."""

    def __init__(
        self,
        trained: Sequence[Example],
        index: dict[Path, int],
        old_texts: Sequence[ReplayText],
        variants: Sequence[int],
    ) -> None:
        self._new = [(index[one.path], one.question, one.answer) for one in trained]
        self._old: dict[int, list[tuple[str, str]]] = {}
        for text in old_texts:
            self._old.setdefault(text.image, []).append((text.question, text.answer))
        self._old_images = list(self._old)
        self._questions = {one.question for one in trained}
        own = {image for image, _, _ in self._new}
        counts = Counter(image in own for image in self._old)
        total = {True: OWN_SHARE, False: 1 - OWN_SHARE} if len(counts) == 2 else {True: 1.0, False: 1.0}
        self._shares = [total[image in own] / counts[image in own] for image in self._old]
        self._variants = variants

    def _form(self, image: int, rng: np.random.Generator) -> tuple[int, int]:
        return image, int(rng.integers(self._variants[image]))

    def sample_new(self, rng: np.random.Generator) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
        """Images with their forms, and a question and an answer for each."""
        drawn = [self._new[number] for number in rng.integers(len(self._new), size=BATCH)]
        return [self._form(image, rng) for image, _, _ in drawn], [(question, answer) for _, question, answer in drawn]

    def sample_old(self, rng: np.random.Generator) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
        """Images with their forms, and `REPLAYED_TEXTS` for each: first one whose question is asked about new images
        too, where the model forgets most, then any."""
        images = [int(image) for image in rng.choice(self._old_images, size=BATCH, p=self._shares)]
        texts = []
        for image in images:
            known = self._old[image]
            asked = [text for text in known if text[0] in self._questions] or known
            texts.append(asked[rng.integers(len(asked))])
            texts += [known[number] for number in rng.integers(len(known), size=REPLAYED_TEXTS - 1)]
        return [self._form(image, rng) for image in images], texts


def training_model(model: ModelSpec, device: str) -> ModelSpec:
    """The model in the number format of trainings: bfloat16 where the card has it, else float32."""
    return replace(model, dtype="bfloat16" if can_train_in_bfloat16(device) else "float32", quantize="none")


def _require_blip(model: ModelSpec) -> Path:
    """Its folder. Raises: TrainingRefused: it is no BLIP-2; ModelUnavailable."""
    folder = model_path(model)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        kind = None
    if kind not in ("blip-2", "blip_2"):
        detail = f"adapters are trained for BLIP-2, this is {kind or 'another kind of model'}"
        raise TrainingRefused("model", model=model.display_name, detail=detail)
    return folder


def _require_whole(model: ModelSpec, blip: Any) -> None:
    """Raises: TrainingRefused: a part of it is not always on the device, so that it cannot be trained there."""
    offloader = offloader_of(blip)
    if offloader is not None and any(offloader.moves(name) for name, _ in blip.named_children()):
        raise TrainingRefused("model", model=model.display_name, detail="it does not fit into the device's memory")


def _choose_answerable(
    examples: Sequence[Example], texts: BlipTexts, model: ModelSpec, request: TrainingRequest
) -> list[Example]:
    """Without people's corrections that the model cannot learn, because they are too long or have words that it cannot
    write.

    Raises: TrainingRefused: a line of the owner's own cannot be learned, or too few are left.
    """
    chosen = []
    for example in examples:
        try:
            _require_answerable(example, texts, model)
        except TrainingRefused:
            if example.file not in request.corrections:
                raise
        else:
            chosen.append(example)
    return require_enough(chosen, request.folder)


def _require_answerable(example: Example, texts: BlipTexts, model: ModelSpec) -> None:
    count, limit = texts.count_excess(example.question, example.answer)
    where: dict[str, Any] = {"line": example.line, "file": METADATA, "model": model.display_name}
    if count > limit:
        raise TrainingRefused("long_text", **where, count=count, limit=limit)
    if unknown := texts.unknown_words(f"{example.question} {example.answer}"):
        raise TrainingRefused("unknown_words", **where, detail=", ".join(unknown))


def _listing(folder: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a replay folder's files."""
    path = Path(folder)
    if not path.is_absolute() or not path.is_dir():
        return []
    files = [(one.name, one.stat()) for one in sorted(path.iterdir()) if one.is_file()]
    return [(name, facts.st_size, facts.st_mtime_ns) for name, facts in files]


def _save_adapter(adapted: PeftModel, repo: str, folder: Path) -> None:
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = repo
    adapted.save_pretrained(str(folder), save_embedding_layers=False)  # it would look for the model on the Hub
