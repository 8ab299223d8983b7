"""The image-text matching engine: compares texts with an image, in one step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.commands.match import split_texts
from bot.error_texts import NO_TEXT_FITS
from bot.errors import EngineError
from bot.jobs import Media
from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.base import CostSample, EngineEvent, StepDone, TaskDone
from inference.engine.tokenizer_notes import question_notes
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of
from inference.memory.precision import dtype_name
from inference.vision.feature_cache import FeatureCache
from inference.vision.image_encoder import ImageEncoder, ImageInput
from inference.vision.itm import ImageTextMatcher, similarity
from inference.vision.loader import load_matcher
from inference.vision.match_answer import fits_none, format_answer

MAX_TASKS = 16
"""Tasks in flight at the same time."""
TASKS_PER_STEP = 4
"""Tasks in one step, which bounds how long a new task waits."""


@dataclass(frozen=True)
class _MatchRequest:
    task: Task
    image: ImageInput
    texts: list[str]


class MatchEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._capabilities: dict[str, Any] = {}
        self._requests: dict[str, _MatchRequest] = {}
        self._tasks_per_step = TASKS_PER_STEP
        self._usage: dict[str, float] = {}
        self._step_seconds: dict[str, float] = {}

    @property
    def free_slots(self) -> int:
        return max(0, MAX_TASKS - len(self._requests))

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return self._capabilities

    def load_model(self, device: str) -> None:
        folder = model_path(self._model)
        self._blip, self._processor = load_matcher(self._model, folder, device)
        self._matcher = ImageTextMatcher(self._blip, self._processor.tokenizer)
        dtype = self._blip.vision_model.dtype  # its other parts may be kept in float32
        revision = model_revision(self._model, folder)
        self._image_encoder = ImageEncoder(
            self._matcher.encode_images,
            self._processor.image_processor,
            revision,
            FeatureCache(self._model.image_cache_mb * 2**20),
            self._blip.device,
            dtype,
        )
        self._capabilities = {
            "samplers": [],
            "options": ["texts"],
            "revision": revision,
            "dtype": dtype_name(dtype),
            "rows": MAX_TASKS,
            "attention": self._blip.config._attn_implementation,
        }

    def add_task(self, task: Task) -> None:
        if not task.images:
            raise EngineError(detail="a matching task without an image")
        started = time.monotonic()
        image = self._image_encoder.preprocess(task.images[0].media)
        self._requests[task.id] = _MatchRequest(task, image, split_texts(str(task.options["texts"])))
        self._usage[task.id] = time.monotonic() - started

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        batch = list(self._requests.values())[: self._tasks_per_step]
        if not batch:
            return []
        started = time.monotonic()
        answers = self._match(batch)
        share_s = (time.monotonic() - started) / len(batch)
        events: list[EngineEvent] = []
        for request, result in zip(batch, answers, strict=True):
            task_id = request.task.id
            del self._requests[task_id]
            self._usage[task_id] = self._usage.get(task_id, 0.0) + share_s
            self._step_seconds[task_id] = share_s
            events += [StepDone(task_id=task_id, step=1, steps=1), TaskDone(task_id=task_id, result=result)]
        return events

    def cancel_task(self, task_id: str) -> None:
        self._requests.pop(task_id, None)

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """Matching has no previews."""

    def take_usage(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call."""
        usage, self._usage = self._usage, {}
        return usage

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        """The task's share of its step."""
        seconds = self._step_seconds.pop(task.id, None)
        return [] if seconds is None else [CostSample(what="token", batch_size=1, seconds=seconds)]

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """Not needed: the batch size is fixed."""

    def reduce_memory(self) -> str | None:
        """First one task at a time and an empty image cache; then less device memory."""
        if self._tasks_per_step > 1:
            self._tasks_per_step = 1
            self._image_encoder.cache.clear()
            return "rows"
        offloader = offloader_of(self._blip)
        return offloader.use_less_memory() if offloader is not None else None

    def unload_model(self) -> None:
        self._requests.clear()
        self._image_encoder.cache.clear()
        del self._blip, self._processor, self._matcher, self._image_encoder

    # ------------------------------------------------------------ embeddings

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Media]) -> torch.Tensor:
        """Contrastive embeddings, (images, queries, width of the shared space), each of length 1, on the CPU.

        `itm.similarity` compares them with those of texts.
        """
        features = self._image_encoder.encode([self._image_encoder.preprocess(image) for image in images])
        return torch.stack([embeds for _, embeds in features]).float().cpu()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Contrastive embeddings, (texts, width of the shared space), each of length 1, on the CPU."""
        return self._matcher.embed_texts(texts).float().cpu()

    # ------------------------------------------------------------ one step

    def _match(self, batch: Sequence[_MatchRequest]) -> list[TaskResult]:
        """Compare each request's texts; all pairs of all requests share one pass."""
        features = self._image_encoder.encode([request.image for request in batch])
        counts = [len(request.texts) for request in batch]
        texts = [text for request in batch for text in request.texts]
        patches = [image[0].expand(count, -1, -1) for image, count in zip(features, counts, strict=True)]
        scores = self._matcher.match_scores(torch.cat(patches), texts).split(counts)
        text_embeds = self._matcher.embed_texts(texts).split(counts)
        return [
            self._answer(request, score.tolist(), similarity(image[1][None], embeds)[0].tolist())
            for request, image, score, embeds in zip(batch, features, scores, text_embeds, strict=True)
        ]

    def _answer(self, request: _MatchRequest, scores: list[float], similarities: list[float]) -> TaskResult:
        is_calibrated = not self._model.demo
        notes = question_notes(self._processor.tokenizer, " ".join(request.texts), is_demo=self._model.demo)
        if len(request.texts) > 1 and fits_none(scores, is_calibrated=is_calibrated):
            notes += (NO_TEXT_FITS,)
        text = format_answer(request.texts, scores, similarities, is_calibrated=is_calibrated)
        return TaskResult(text=text, notes=notes, revision=self._capabilities["revision"])
