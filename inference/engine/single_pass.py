"""The base class of engines whose tasks take one forward pass each: maps, masks, scores.

A subclass loads its model, turns a task into the input of a pass, and answers several inputs in one pass. Inputs with
the same batch key share passes.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from bot.errors import EngineError
from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.base import CostSample, EngineEvent, ImageReady, StepDone, TaskDone
from inference.engine.pass_counts import PassCounts
from inference.ipc.messages import RawImage, TaskResult

Input = TypeVar("Input")


@dataclass(frozen=True, kw_only=True)
class PassOutput:
    """The answer to one task: its result, and its images, whose indexes count from 0."""

    result: TaskResult
    images: tuple[RawImage, ...] = ()


@dataclass(frozen=True)
class _Request(Generic[Input]):
    task: Task
    prepared: Input


class SinglePassEngine(ABC, Generic[Input]):
    """Attributes:
    max_tasks: tasks in flight at the same time.
    tasks_per_pass: tasks that may share a pass, which bounds how long a new task waits.
    images_per_pass: the most images of tasks that share a pass; a task that has more of them runs alone.
    options: the request options that its tasks read.
    """

    max_tasks: ClassVar[int] = 16
    tasks_per_pass: ClassVar[int] = 4
    images_per_pass: ClassVar[int] = 16
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._revision = ""
        self._capabilities: dict[str, Any] = {}
        self._requests: dict[str, _Request[Input]] = {}
        self._pass_size = self.tasks_per_pass
        self._usage: dict[str, float] = {}
        self._pass_seconds: dict[str, float] = {}
        self.pass_counts = PassCounts()

    # ------------------------------------------------------------ what a subclass implements

    @abstractmethod
    def _load(self, folder: Path, device: str) -> Mapping[str, Any]:
        """Load the model; `self._revision` is set. Returns "dtype" and whatever else its capabilities have.

        Raises: ModelUnavailable, OutOfMemory.
        """

    @abstractmethod
    def _unload(self) -> None:
        """Drop the model and what was derived from it."""

    @abstractmethod
    def _prepare_input(self, task: Task) -> Input:
        """Decode and preprocess the task's images. Raises: InvalidOption, EngineError, what Pillow raises."""

    @abstractmethod
    def _run_pass(self, tasks: Sequence[Task], inputs: Sequence[Input]) -> Sequence[PassOutput]:
        """Answer inputs with the same batch key, in their order. Runs without gradients."""

    def _batch_key(self, prepared: Input) -> Hashable:
        """Inputs with different keys do not share a pass: those of different sizes, for example."""
        return None

    def _needs_image(self, task: Task) -> bool:
        """Whether the task makes no sense without an image."""
        return True

    def _clear_caches(self) -> None:
        """Drop what can be computed again."""

    def _use_less_memory(self) -> str | None:
        """Go down a fallback level of the loaded model, which `ComponentOffloader.use_less_memory` names."""
        return None

    # ------------------------------------------------------------ the engine protocol

    @property
    def free_slots(self) -> int:
        return max(0, self.max_tasks - len(self._requests))

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return self._capabilities

    def load_model(self, device: str) -> None:
        folder = model_path(self._model)
        self._revision = model_revision(self._model, folder)
        self._capabilities = {
            "samplers": [],
            "options": list(self.options),
            "revision": self._revision,
            "rows": self.max_tasks,
            **self._load(folder, device),
        }

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """Not needed: the size of a pass is fixed."""

    def add_task(self, task: Task) -> None:
        if not task.images and self._needs_image(task):
            raise EngineError(detail=f"a task of {self._model.name} without an image")
        started = time.monotonic()
        self._requests[task.id] = _Request(task, self._prepare_input(task))
        self._usage[task.id] = time.monotonic() - started

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        batch = self._next_batch()
        if not batch:
            return []
        started = time.monotonic()
        outputs = self._run_pass([one.task for one in batch], [one.prepared for one in batch])
        share_s = (time.monotonic() - started) / len(batch)
        self.pass_counts.add(len(batch))
        events: list[EngineEvent] = []
        for request, output in zip(batch, outputs, strict=True):
            task_id = request.task.id
            del self._requests[task_id]
            self._usage[task_id] = self._usage.get(task_id, 0.0) + share_s
            self._pass_seconds[task_id] = share_s
            events.append(StepDone(task_id=task_id, step=1, steps=1))
            events += [ImageReady(task_id=task_id, image=image) for image in output.images]
            events.append(TaskDone(task_id=task_id, result=output.result))
        return events

    def _next_batch(self) -> list[_Request[Input]]:
        """The oldest task and others that can share its pass."""
        requests = list(self._requests.values())
        keys = [self._batch_key(request.prepared) for request in requests]
        same = [request for request, key in zip(requests, keys, strict=True) if key == keys[0]][: self._pass_size]
        totals = list(accumulate(len(request.task.images) for request in same))
        fitting = sum(total <= self.images_per_pass for total in totals)
        return same[: max(1, fitting)]

    def take_usage(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call."""
        usage, self._usage = self._usage, {}
        return usage

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        """The task's share of its pass, for one of its images."""
        seconds = self._pass_seconds.pop(task.id, None)
        if seconds is None or not task.images:
            return []
        return [CostSample(what="token", batch_size=1, seconds=seconds / len(task.images))]

    def cancel_task(self, task_id: str) -> None:
        self._requests.pop(task_id, None)

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """One pass has no previews."""

    def reduce_memory(self) -> str | None:
        """First one task at a time and empty caches; then less device memory."""
        if self._pass_size > 1:
            self._pass_size = 1
            self._clear_caches()
            return "rows"
        return self._use_less_memory()

    def unload_model(self) -> None:
        self._requests.clear()
        self._clear_caches()
        self._unload()
