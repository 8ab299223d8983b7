"""BLIP-2 as an engine: captions and answers, held at each token so that a cancel ends it there."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, Blip2ForConditionalGeneration, StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging as transformers_logging

from bot.errors import EngineError, ModelUnavailable
from bot.models import VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Task
from inference.bridge import Bridge, Pause, Paused
from inference.engine import EngineEvent, Over, Step
from inference.precision import dtype_for, dtype_name
from inference.protocol import Finished
from inference.weights import folder_of, require_safetensors, revision_of

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
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        folder = folder_of(self._model)
        require_safetensors(self._model, folder)
        dtype = dtype_for(self._model, device)
        self._processor = AutoProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        self._blip = (
            Blip2ForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True
            )
            .to(device)
            .eval()
        )
        self._join_image_and_text()
        self._form = {
            "samplers": [],
            "options": _OPTIONS,
            "revision": revision_of(self._model, folder),
            "dtype": dtype_name(dtype),
        }

    def _join_image_and_text(self) -> None:
        """Without both numbers the model answers from the words alone and says nothing of it."""
        config = self._blip.config
        self._processor.num_query_tokens = config.num_query_tokens
        token = self._processor.tokenizer.convert_tokens_to_ids(self._processor.image_token.content)
        if config.image_token_index is None:
            config.image_token_index = token
        if config.image_token_index != token:
            detail = f"its image token is {config.image_token_index}, its tokenizer's {token}"
            raise ModelUnavailable(self._model.name, detail)

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
        limit = int(task.options.get("max_new_tokens", self._model.max_new_tokens))
        inputs = self._inputs(task)
        if is_sampling(task.options):
            torch.manual_seed(int(task.options.get("seed", 0)))
        ids = self._blip.generate(
            **inputs,
            **generation(task.options, limit),
            stopping_criteria=StoppingCriteriaList([_EachToken(task.id, limit, pause)]),
        )
        text = self._processor.tokenizer.decode(self._new_ids(ids[0], inputs), skip_special_tokens=True)
        return Finished(text=tidy(text), revision=self._form["revision"])

    def _inputs(self, task: Task) -> Any:
        if not task.images:
            raise EngineError(detail="a vision task without a picture")
        image = Image.open(io.BytesIO(task.images[0].media.data)).convert("RGB")
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

    def __init__(self, task_id: str, limit: int, pause: Pause) -> None:
        self._task_id = task_id
        self._limit = limit
        self._pause = pause
        self._made = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._made += 1
        self._pause(Step(task_id=self._task_id, step=min(self._made, self._limit), steps=self._limit))
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


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
