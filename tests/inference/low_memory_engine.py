"""A torch-free engine that runs out of memory: `engine_factory="tests.inference.low_memory_engine:build"`.

It runs one task and makes flat images, all but the last in its first step. Words in `model.repo`: `levels=2` (number of
fallback levels), `needs=2` (level at which a step succeeds; 9: never), `load-needs=1` (loading succeeds only when no
other engine is loaded in the process).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.engine.base import CostSample, EngineEvent, ImageReady, StepDone, TaskDone
from inference.ipc.messages import TaskResult
from tests.inference.engines import flat_image

_loaded: set[str] = set()


def build(model: ModelSpec) -> "LowMemoryEngine":
    return LowMemoryEngine(model)


class LowMemoryEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._words = {word.partition("=")[0]: word.partition("=")[2] for word in model.repo.split()}
        self._task: Task | None = None
        self._step = 0
        self._level = 0

    @property
    def free_slots(self) -> int:
        return 0 if self._task else 1

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return {"samplers": [], "options": ["prompt", "seed", "steps"], "revision": "test", "dtype": "none"}

    def load_model(self, device: str) -> None:
        if "load-needs" in self._words and _loaded:
            raise RuntimeError("CUDA out of memory")
        _loaded.add(self._model.name)

    def add_task(self, task: Task) -> None:
        self._task, self._step = task, 0

    def step(self) -> Sequence[EngineEvent]:
        task = self._task
        assert task is not None
        self._step += 1
        if self._step == 2 and self._level < int(self._words.get("needs", 0)):
            raise RuntimeError("CUDA out of memory")
        events: list[EngineEvent] = [StepDone(task_id=task.id, step=self._step, steps=3)]
        last_index = int(task.options["count"]) - 1
        if self._step == 1:
            events += [ImageReady(task_id=task.id, image=flat_image(task, index)) for index in range(last_index)]
        if self._step == 3:
            self._task = None
            result = TaskResult(notes=(f"level {self._level}",), revision="test")
            events += [
                ImageReady(task_id=task.id, image=flat_image(task, last_index)),
                TaskDone(task_id=task.id, result=result),
            ]
        return events

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """It has no cost model."""

    def take_usage(self) -> Mapping[str, float]:
        return {}

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        return []

    def cancel_task(self, task_id: str) -> None:
        self._task = None

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """It makes no previews."""

    def reduce_memory(self) -> str | None:
        if self._level == int(self._words.get("levels", 0)):
            return None
        self._level += 1
        return f"level {self._level}"

    def unload_model(self) -> None:
        self._task = None
        _loaded.discard(self._model.name)
