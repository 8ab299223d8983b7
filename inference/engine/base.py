"""What an engine is, and which engine does which task.

An engine runs one model in steps, so that a device can give every step to whoever should have it.
A new kind of model is one more file and one more line in `ENGINES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from bot.errors import ModelUnavailable
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelSpec,
)
from bot.ports import Measured, Task
from inference.ipc.messages import Finished, RawPicture


@dataclass(frozen=True, kw_only=True)
class Step:
    """`task_id` is now `step` of `steps` far (tokens, for text). `preview`: a small JPEG."""

    task_id: str
    step: int
    steps: int
    preview: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """One picture of the task is ready."""

    task_id: str
    picture: RawPicture


@dataclass(frozen=True, kw_only=True)
class Over:
    """The task is done and no longer admitted."""

    task_id: str
    finished: Finished


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The task went wrong, alone, and is no longer admitted."""

    task_id: str
    error: Exception


EngineEvent = Step | Made | Over | Failed


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a pass costs: `seconds` of one "step" or "token" of `rows` such tasks together; or of one "pass" of so many
    rows of the batch, for the next process to know."""

    what: str
    rows: int
    seconds: float


class Engine(Protocol):
    """One model on one device. All calls come from one thread."""

    @property
    def free_rows(self) -> int:
        """How many more tasks it would admit now."""

    @property
    def form(self) -> Mapping[str, Any]:
        """After `load`: `{"samplers": [...], "options": [...], "revision": "...", "dtype": "..."}`."""

    def load(self, device: str) -> None:
        """Raises: ModelUnavailable, OutOfMemory."""

    def know(self, rates: Sequence[Measured]) -> None:
        """What earlier processes measured of this model on this device, in this number format: their `readings`."""

    def admit(self, task: Task) -> None:
        """Begin a task at the next step. Raises: InvalidOption, EngineError."""

    def step(self) -> Sequence[EngineEvent]:
        """Compute one step for admitted tasks, as many as it likes. What it raises ends all of them."""

    def used(self) -> Mapping[str, float]:
        """Device-seconds by task since it was last asked; a shared pass is split among those who share it."""

    def readings(self, task: Task) -> Sequence[Reading]:
        """What it learned of the cost of such tasks; nothing, when it runs one at a time."""

    def cancel(self, task_id: str) -> None:
        """Drop the task now; nothing more is heard of it."""

    def watch(self, task_id: str, watched: bool) -> None:
        """Somebody looks at its previews, or no longer."""

    def save_memory(self) -> str | None:
        """A task ran out of memory: be slower but smaller from now on, by one more rung.

        Returns the rung's name, such as "rows", "tiled" or "turns"; None: nothing is left to make smaller.
        """

    def unload(self) -> None:
        """Give back all memory."""


ENGINES: Mapping[str, str] = {
    TEXT_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_TEXT_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_TO_TEXT: "inference.vision.engine:VisionEngine",
    VISUAL_QUESTION_ANSWERING: "inference.vision.engine:VisionEngine",
    ZERO_SHOT_IMAGE_CLASSIFICATION: "inference.vision.match_engine:MatchEngine",
}
"""Import paths by task, because importing an engine means importing torch."""


def build(model: ModelSpec) -> Engine:
    """The engine for a model, not loaded yet. Raises: ModelUnavailable."""
    paths = {ENGINES[task] for task in model.tasks if task in ENGINES}
    if len(paths) != 1:
        raise ModelUnavailable(model.name, f"no one engine does {', '.join(model.tasks) or 'nothing'}")
    engine: Engine = find(paths.pop())(model)
    return engine


def find(path: str) -> Any:
    """The thing at an import path "module:name"."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
