"""A torch-free engine for tests, run in the real child: `engines="tests.inference.engines:build"`.

What it does stands in the prompt (or question), as words: `steps=5` (else the `steps` option, else 3), `sleep=0.05`
(seconds a step takes), `wait-for=PATH` (each step waits for that file and removes it), and what goes wrong, at the
second step or at STEP of `crash=STEP` and so on:

- `crash`: killed as by the kernel's OOM killer; `abort`: dies in native code;
- `busy`: holds the interpreter for ever; `hang`: a step that never ends while its heart beats on;
- `noise`: bytes that are no message, to the parent;
- `oom`, `fail`: an exception.

`say-env` answers a question with the names in the environment. Other words mean nothing. Words in `model.repo` tell how
loading goes: `load=0.3` (seconds), `load-fail`, `load-oom`, `load-crash`, `load-hang`, `load-busy`; and how many tasks
share a step: `rows=4` (else 1).
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
from bot.ports import Measured, Task
from inference.engine.base import EngineEvent, Made, Over, Reading, Step
from inference.ipc.messages import Finished, RawPicture

PREVIEW = b"\xff\xd8preview"


def harmless(_classifier: ModelSpec) -> Any:
    """A classifier that finds nothing; the next ones find it everywhere, give no number, or are broken."""
    return lambda _image: 0.1


def adult(_classifier: ModelSpec) -> Any:
    return lambda _image: 0.9


def nothing(_classifier: ModelSpec) -> Any:
    return lambda _image: float("nan")


def broken(_classifier: ModelSpec) -> Any:
    raise ModelUnavailable("classifier", "it is broken")


def build(model: ModelSpec) -> "TestEngine":
    return TestEngine(model)


class TestEngine:
    """One step after another of all its tasks, one flat picture for each seed."""

    __test__ = False

    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._rows = int(_words(model.repo).get("rows", 1))
        self._tasks: dict[str, Task] = {}
        self._steps: dict[str, int] = {}
        self._watched: set[str] = set()
        self._is_small = False
        self._used: dict[str, float] = {}

    @property
    def free_rows(self) -> int:
        return self._rows - len(self._tasks)

    @property
    def form(self) -> Mapping[str, Any]:
        options = ["prompt", "seed", "steps", "count"]
        plain = {"samplers": ["euler"], "options": options, "revision": "test", "dtype": "none"}
        return plain | ({"rows": self._rows} if self._rows > 1 else {})

    def load(self, device: str) -> None:
        words = _words(self._model.repo)
        time.sleep(float(words.get("load", 0)))
        if "load-fail" in words:
            raise ModelUnavailable(self._model.name, "there is no such folder")
        for word in ("crash", "hang", "busy", "oom"):
            if f"load-{word}" in words:
                _MISHAPS[word]()

    def know(self, rates: Sequence[Measured]) -> None:
        """There is nothing to make of it."""

    def admit(self, task: Task) -> None:
        self._tasks[task.id], self._steps[task.id] = task, 0
        self.watch(task.id, task.watched)

    def step(self) -> Sequence[EngineEvent]:
        events: list[EngineEvent] = []
        for task in list(self._tasks.values()):
            started = time.monotonic()
            events += self._advance(task)
            self._used[task.id] = time.monotonic() - started
        return events

    def used(self) -> Mapping[str, float]:
        used, self._used = self._used, {}
        return used

    def readings(self, task: Task) -> Sequence[Reading]:
        return []

    def _advance(self, task: Task) -> list[EngineEvent]:
        words = _words(_text(task))
        self._steps[task.id] += 1
        step = self._steps[task.id]
        time.sleep(float(words.get("sleep", 0)))
        for word, mishap in _MISHAPS.items():
            if word in words and step == int(words[word] or 2):
                mishap()
        if "wait-for" in words:
            _wait_for(words["wait-for"])
        count = int(task.options.get("count", 1))
        steps = int(words.get("steps") or task.options.get("steps", 3)) * count
        preview = PREVIEW if task.id in self._watched else None
        events: list[EngineEvent] = [Step(task_id=task.id, step=step, steps=steps, preview=preview)]
        if step == steps:
            events += self._end(task, count, words)
        return events

    def cancel(self, task_id: str) -> None:
        self._tasks.pop(task_id, None)

    def watch(self, task_id: str, watched: bool) -> None:
        self._watched = self._watched | {task_id} if watched else self._watched - {task_id}

    def save_memory(self) -> str | None:
        rung = None if self._is_small else "small"
        self._is_small = True
        return rung

    def unload(self) -> None:
        self._tasks.clear()

    def _end(self, task: Task, count: int, words: Mapping[str, str]) -> list[EngineEvent]:
        del self._tasks[task.id]
        notes = ("small",) if self._is_small else ()
        if task.task.startswith("image-to-text") or task.task.startswith("visual"):
            text = " ".join(sorted(os.environ)) if "say-env" in words else f"answer: {_text(task)}"
            return [Over(task_id=task.id, finished=Finished(text=text, notes=notes, revision="test"))]
        made: list[EngineEvent] = [Made(task_id=task.id, picture=flat_picture(task, index)) for index in range(count)]
        return [*made, Over(task_id=task.id, finished=Finished(notes=notes, revision="test"))]


def flat_picture(task: Task, index: int) -> RawPicture:
    """A picture of one colour, which is its seed's lowest three bytes."""
    seed = (int(task.options.get("seed", 0)) + index) % 2**32
    width, height = int(task.options.get("width", 8)), int(task.options.get("height", 8))
    pixels = (seed % 2**24).to_bytes(3, "big") * (width * height)
    return RawPicture(
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
    raise RuntimeError("the engine fell over this: a secret prompt")


def _abort() -> None:
    os.abort()


def _noise() -> None:
    for file in range(3, 10):  # the pipe to the parent is one of them
        with contextlib.suppress(OSError):
            os.write(file, b"\0\0\0\4noise")


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)
    with contextlib.suppress(OSError):
        os.remove(path)


_MISHAPS = {
    "crash": _crash,
    "hang": _hang,
    "busy": _busy,
    "oom": _oom,
    "fail": _fail,
    "noise": _noise,
    "abort": _abort,
}
