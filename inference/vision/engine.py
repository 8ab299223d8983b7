"""BLIP-2 as an engine: captions and answers, held at each token so that a cancel ends it there."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import StoppingCriteria, StoppingCriteriaList

from bot.errors import EngineError
from bot.models import VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Task
from inference.bridge import Bridge, Pause, Paused
from inference.engine import EngineEvent, Over, Step
from inference.precision import dtype_name
from inference.protocol import Finished
from inference.vision.loading import load_blip
from inference.weights import folder_of, revision_of
from inference.words import question_notes

_OPTIONS = ["question", "num_beams", "temperature", "top_p", "min_new_tokens", "max_new_tokens", "seed"]


class VisionEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._bridge = Bridge()
        self._blip: Any = None
        self._processor: Any = None
        self._form: dict[str, Any] = {}
        self._task: Task | None = None

    @property
    def free_rows(self) -> int:
        return 0 if self._task else 1

    @property
    def form(self) -> Mapping[str, Any]:
        return self._form

    def load(self, device: str) -> None:
        folder = folder_of(self._model)
        self._blip, self._processor = load_blip(self._model, folder, device)
        self._form = {
            "samplers": [],
            "options": _OPTIONS,
            "revision": revision_of(self._model, folder),
            "dtype": dtype_name(self._blip.dtype),
        }

    def admit(self, task: Task) -> None:
        self._task = task
        self._bridge.start(lambda pause: self._answer(task, pause))

    def step(self) -> Sequence[EngineEvent]:
        outcome = self._bridge.advance()
        if isinstance(outcome, Paused):
            return [outcome.value]
        assert self._task is not None
        task_id, self._task = self._task.id, None
        return [Over(task_id=task_id, finished=outcome.value)]

    def cancel(self, task_id: str) -> None:
        if self._task is not None and self._task.id == task_id:
            self._task = None
            self._bridge.stop()

    def watch(self, task_id: str, watched: bool) -> None:
        """Text has no previews."""

    def save_memory(self) -> None:
        """One picture and one text: there is nothing to make smaller."""

    def unload(self) -> None:
        self._bridge.close()
        self._blip = self._processor = None

    # ------------------------------------------------------------ in the bridge's thread

    @torch.inference_mode()
    def _answer(self, task: Task, pause: Pause) -> Finished:
        if not task.images:
            raise EngineError(detail="a vision task without a picture")
        torch.manual_seed(int(task.options.get("seed", 0)))
        limit = int(task.options.get("max_new_tokens", self._model.max_new_tokens))
        if task.command == "describe":
            lines = self._describe(task, _EachToken(task.id, limit, pause, parts=int(task.options.get("count", 1))))
        else:
            each_token = _EachToken(task.id, limit, pause, parts=len(task.images))
            answers = [self._write(task, task.options, each_token, picture) for picture in range(len(task.images))]
            lines = answers if len(answers) == 1 else [f"{number}. {line}" for number, line in enumerate(answers, 1)]
        question = str(task.options.get("question", ""))
        notes = question_notes(self._processor.tokenizer, question, is_demo=self._model.demo)
        return Finished(text="\n".join(lines), notes=notes, revision=self._form["revision"])

    def _describe(self, task: Task, each_token: "_EachToken") -> list[str]:
        """Different captions: the likeliest, then drawn ones; of a model that is too sure of itself to draw any other,
        the next likeliest. Fewer where it has no more to say."""
        count = int(task.options.get("count", 1))
        found: dict[str, str] = {}
        for attempt in range(count * DRAWS):
            options = livelier(task.options, attempt) if attempt else task.options
            self._collect(found, self._write(task, options, each_token))
            if len(found) == count:
                return list(found.values())
        for line in self._beams(task, 2 * count, each_token):
            self._collect(found, line)
        return list(found.values())[:count]

    def _collect(self, found: dict[str, str], line: str) -> None:
        if line:
            found.setdefault(line.casefold().rstrip(" .!"), line)

    def _beams(self, task: Task, count: int, each_token: "_EachToken") -> list[str]:
        """The likeliest texts, by one search."""
        options = {**task.options, "temperature": 0.0, "top_p": 1.0, "num_beams": count}
        return self._generate(task, options, each_token, 0, num_return_sequences=count)

    def _write(self, task: Task, options: Mapping[str, Any], each_token: "_EachToken", picture: int = 0) -> str:
        [line] = self._generate(task, options, each_token, picture)
        return line

    def _generate(
        self, task: Task, options: Mapping[str, Any], each_token: "_EachToken", picture: int, **more: Any
    ) -> list[str]:
        inputs = self._inputs(task, picture)
        each_token.begin()
        made = self._blip.generate(
            **inputs,
            **generation(options, each_token.limit),
            **more,
            stopping_criteria=StoppingCriteriaList([each_token]),
        )
        decode = self._processor.tokenizer.decode
        return [tidy(decode(self._new_ids(ids, inputs), skip_special_tokens=True)) for ids in made]

    def _inputs(self, task: Task, picture: int = 0) -> Any:
        image = Image.open(io.BytesIO(task.images[picture].media.data)).convert("RGB")
        text = prompt_of(task, self._model)
        inputs = self._processor(images=image, text=text, return_tensors="pt")
        return inputs.to(self._blip.device, self._blip.dtype)

    def _new_ids(self, ids: torch.Tensor, inputs: Any) -> torch.Tensor:
        """What the model wrote. A decoder-only one repeats what it was given, which for a caption without a text
        is the image's tokens and one to begin with."""
        if self._blip.language_model.config.is_encoder_decoder:
            return ids
        given = inputs["input_ids"].shape[1] if "input_ids" in inputs else self._blip.config.num_query_tokens + 1
        return ids[given:]


class _EachToken(StoppingCriteria):
    """Hands over control after each token; being stopped there raises out of `generate`."""

    def __init__(self, task_id: str, limit: int, pause: Pause, *, parts: int = 1) -> None:
        self.limit = limit
        self._task_id = task_id
        self._pause = pause
        self._parts = parts
        self._part = 0
        self._made = 0

    def begin(self) -> None:
        """The next text. One more than there are parts is another try at the last."""
        self._part += 1
        self._made = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._made += 1
        before = (min(self._part, self._parts) - 1) * self.limit
        step = before + min(self._made, self.limit)
        self._pause(Step(task_id=self._task_id, step=step, steps=self._parts * self.limit))
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


DRAWS = 2
"""Tries for each caption of `describe`."""


def livelier(options: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """Options that draw words at random, for captions other than the likeliest: more so each time, because a model
    that is sure of itself says the same again and again."""
    warmth = float(options.get("temperature", 0.0)) or 0.8
    temperature = min(2.0, warmth + 0.1 * attempt)
    return {**options, "num_beams": 1, "temperature": temperature, "top_p": min(1.0, 0.9 + 0.01 * attempt)}


def prompt_of(task: Task, model: ModelSpec) -> str | None:
    """What the language model reads; None for a plain caption."""
    if task.task == VISUAL_QUESTION_ANSWERING:
        return model.question_template.replace("{question}", str(task.options["question"]).strip())
    return str(task.options.get("prompt") or "").strip() or None


def is_sampling(options: Mapping[str, Any]) -> bool:
    """Words are drawn at random above a temperature of 0, and when `top_p` leaves some out."""
    return float(options.get("temperature", 0.0)) > 0 or float(options.get("top_p", 1.0)) < 1


def generation(options: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Easel's options as arguments of `generate`."""
    arguments: dict[str, Any] = {
        "max_new_tokens": limit,
        "min_new_tokens": min(int(options.get("min_new_tokens", 0)), limit),
        "num_beams": int(options.get("num_beams", 1)),
        "do_sample": is_sampling(options),
    }
    if is_sampling(options):
        arguments["temperature"] = float(options.get("temperature", 0.0)) or 1.0
        arguments["top_p"] = float(options.get("top_p", 1.0))
    return arguments


def tidy(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
