"""A torch-free engine for tests, run in the real child: `engine_factory="tests.inference.engines:build"`.

Words in the prompt (or question) control it: `steps=5` (default: the `steps` option, or 3), `sleep=0.05` (seconds of a
step), `wait-for=PATH` (each step waits for that file and removes it), and faults, at the second step or, with
`crash=STEP` and so on, at STEP:

- `crash`: killed as by the kernel's OOM killer; `abort`: crashes in native code;
- `busy`: holds the interpreter's lock for ever; `hang`: a step that never ends while heartbeats continue;
- `garbage`: sends bytes that are not a message;
- `oom`, `fail`: raises an exception.

`say-env` answers a question with the names of the environment variables. Other words have no effect. Words in
`model.repo` control loading: `load=0.3` (seconds), `load-wait=PATH` (waits for that file), `load-fail`, `load-oom`,
`load-crash`, `load-hang`, `load-busy`; and the number of tasks that share a step: `slots=4` (default: 1).
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.engine.base import CostSample, EngineEvent, ImageReady, StepDone, TaskDone
from inference.ipc.messages import RawImage, TaskResult

PREVIEW = b"\xff\xd8preview"


def harmless(_classifier: ModelSpec) -> Any:
    """A classifier that scores every image as safe. The next ones: adult, no number, fails, cannot be loaded."""
    return lambda _image: 0.1


def adult(_classifier: ModelSpec) -> Any:
    return lambda _image: 0.9


def not_a_number(_classifier: ModelSpec) -> Any:
    return lambda _image: float("nan")


def failing(_classifier: ModelSpec) -> Any:
    def score(_image: Any) -> float:
        raise RuntimeError("the classifier failed")

    return score


def broken(_classifier: ModelSpec) -> Any:
    raise ModelUnavailable("classifier", "it is broken")


def build(model: ModelSpec) -> "TestEngine":
    return TestEngine(model)


class TestEngine:
    """Steps all its tasks in turn and makes one flat image for each seed."""

    __test__ = False

    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._slots = int(_words(model.repo).get("slots", 1))
        self._tasks: dict[str, Task] = {}
        self._steps: dict[str, int] = {}
        self._previewed: set[str] = set()
        self._is_small = False
        self._used: dict[str, float] = {}

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._tasks)

    @property
    def capabilities(self) -> Mapping[str, Any]:
        options = ["prompt", "seed", "steps", "count"]
        plain = {"samplers": ["euler"], "options": options, "revision": "test", "dtype": "none"}
        return plain | ({"rows": self._slots} if self._slots > 1 else {})

    def load_model(self, device: str) -> None:
        words = _words(self._model.repo)
        time.sleep(float(words.get("load", 0)))
        if "load-wait" in words:
            _wait_for(words["load-wait"])
        if "load-fail" in words:
            raise ModelUnavailable(self._model.name, "there is no such folder")
        for word in ("crash", "hang", "busy", "oom"):
            if f"load-{word}" in words:
                _FAULTS[word]()

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """It has no cost model."""

    def add_task(self, task: Task) -> None:
        self._tasks[task.id], self._steps[task.id] = task, 0
        self.set_previews(task.id, task.wants_previews)

    def step(self) -> Sequence[EngineEvent]:
        events: list[EngineEvent] = []
        for task in list(self._tasks.values()):
            started = time.monotonic()
            events += self._advance(task)
            self._used[task.id] = time.monotonic() - started
        return events

    def take_usage(self) -> Mapping[str, float]:
        used, self._used = self._used, {}
        return used

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        return []

    def _advance(self, task: Task) -> list[EngineEvent]:
        words = _words(_text(task))
        self._steps[task.id] += 1
        step = self._steps[task.id]
        time.sleep(float(words.get("sleep", 0)))
        for word, inject in _FAULTS.items():
            if word in words and step == int(words[word] or 2):
                inject()
        if "wait-for" in words:
            _wait_for(words["wait-for"])
        count = int(task.options.get("count", 1))
        steps = int(words.get("steps") or task.options.get("steps", 3)) * count
        preview = PREVIEW if task.id in self._previewed else None
        events: list[EngineEvent] = [StepDone(task_id=task.id, step=step, steps=steps, preview=preview)]
        if step == steps:
            events += self._end(task, count, words)
        return events

    def cancel_task(self, task_id: str) -> None:
        self._tasks.pop(task_id, None)

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        self._previewed = self._previewed | {task_id} if is_enabled else self._previewed - {task_id}

    def reduce_memory(self) -> str | None:
        level = None if self._is_small else "small"
        self._is_small = True
        return level

    def unload_model(self) -> None:
        self._tasks.clear()

    def _end(self, task: Task, count: int, words: Mapping[str, str]) -> list[EngineEvent]:
        del self._tasks[task.id]
        notes = ("small",) if self._is_small else ()
        if task.task.startswith("image-to-text") or task.task.startswith("visual"):
            text = " ".join(sorted(os.environ)) if "say-env" in words else f"answer: {_text(task)}"
            return [TaskDone(task_id=task.id, result=TaskResult(text=text, notes=notes, revision="test"))]
        images = [ImageReady(task_id=task.id, image=flat_image(task, index)) for index in range(count)]
        return [*images, TaskDone(task_id=task.id, result=TaskResult(notes=notes, revision="test"))]


def flat_image(task: Task, index: int) -> RawImage:
    """An image of one colour, the lowest three bytes of its seed."""
    seed = (int(task.options.get("seed", 0)) + index) % 2**32
    width, height = int(task.options.get("width", 8)), int(task.options.get("height", 8))
    pixels = (seed % 2**24).to_bytes(3, "big") * (width * height)
    return RawImage(
        index=index,
        width=width,
        height=height,
        pixels=pixels,
        seed=seed,
        sampler="euler",
        revision="test",
    )


def _text(task: Task) -> str:
    return str(task.options.get("prompt") or task.options.get("question") or "")


def _words(text: str) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in text.split()}


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _hang() -> None:
    time.sleep(3600)


def _busy() -> None:
    ctypes.PyDLL(None).sleep(3600)  # PyDLL, unlike CDLL, keeps the interpreter's lock


def _oom() -> None:
    raise MemoryError


def _fail() -> None:
    raise RuntimeError("the engine failed at this: a secret prompt")


def _abort() -> None:
    os.abort()


def _write_garbage() -> None:
    for file in range(3, 10):  # the pipe to the parent is one of them
        with contextlib.suppress(OSError):
            os.write(file, b"\0\0\0\4garbage")


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)
    with contextlib.suppress(OSError):
        os.remove(path)


_FAULTS = {
    "crash": _crash,
    "hang": _hang,
    "busy": _busy,
    "oom": _oom,
    "fail": _fail,
    "garbage": _write_garbage,
    "abort": _abort,
}
