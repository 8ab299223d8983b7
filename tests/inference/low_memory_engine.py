"""A torch-free engine for tests of memory that runs out: `engines="tests.inference.low_memory_engine:build"`.

It admits one task and makes flat pictures, all but the last in its first step. Words in `model.repo`: `rungs=2` (how
often it can be made smaller), `needs=2` (rungs that must be taken before a step succeeds; 9: it never does),
`load-needs=1` (loading succeeds only when no other engine lives in the process).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.models import ModelSpec
from bot.ports import Measured, Task
from inference.engine.base import EngineEvent, Made, Over, Reading, Step
from inference.ipc.messages import Finished
from tests.inference.engines import flat_picture

_alive: set[str] = set()


def build(model: ModelSpec) -> "FrugalEngine":
    return FrugalEngine(model)


class FrugalEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._words = {word.partition("=")[0]: word.partition("=")[2] for word in model.repo.split()}
        self._task: Task | None = None
        self._step = 0
        self._taken = 0

    @property
    def free_rows(self) -> int:
        return 0 if self._task else 1

    @property
    def form(self) -> Mapping[str, Any]:
        return {"samplers": [], "options": ["prompt", "seed", "steps"], "revision": "test", "dtype": "none"}

    def load(self, device: str) -> None:
        if "load-needs" in self._words and _alive:
            raise RuntimeError("CUDA out of memory")
        _alive.add(self._model.name)

    def admit(self, task: Task) -> None:
        self._task, self._step = task, 0

    def step(self) -> Sequence[EngineEvent]:
        task = self._task
        assert task is not None
        self._step += 1
        if self._step == 2 and self._taken < int(self._words.get("needs", 0)):
            raise RuntimeError("CUDA out of memory")
        events: list[EngineEvent] = [Step(task_id=task.id, step=self._step, steps=3)]
        last = int(task.options["count"]) - 1
        if self._step == 1:
            events += [Made(task_id=task.id, picture=flat_picture(task, index)) for index in range(last)]
        if self._step == 3:
            self._task = None
            finished = Finished(notes=(f"{self._taken} rungs",), revision="test")
            events += [
                Made(task_id=task.id, picture=flat_picture(task, last)),
                Over(task_id=task.id, finished=finished),
            ]
        return events

    def know(self, rates: Sequence[Measured]) -> None:
        """It needs to know nothing."""

    def used(self) -> Mapping[str, float]:
        return {}

    def readings(self, task: Task) -> Sequence[Reading]:
        return []

    def cancel(self, task_id: str) -> None:
        self._task = None

    def watch(self, task_id: str, watched: bool) -> None:
        """It makes no previews."""

    def save_memory(self) -> str | None:
        if self._taken == int(self._words.get("rungs", 0)):
            return None
        self._taken += 1
        return f"rung {self._taken}"

    def unload(self) -> None:
        self._task = None
        _alive.discard(self._model.name)
