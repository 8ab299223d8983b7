"""The interface of engines, and the registry of engines by task.

An engine runs one model in steps, which lets a device reschedule at every step. A new kind of model is one more file
and one more line in `ENGINES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from bot.errors import ModelUnavailable
from bot.models import (
    DEPTH_ESTIMATION,
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TEXT_TO_TEXT,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    IMAGE_UPSCALING,
    KEYPOINT_DETECTION,
    TEXT_TO_IMAGE,
    TORCH,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelSpec,
)
from bot.ports import Candidates, Measurement, Task
from inference.engine.pass_counts import PassCounts
from inference.ipc.messages import RawImage, TaskResult


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """The task has finished `step` of `steps` (tokens, for text). `preview`: a small JPEG; `text`: see `Progress`."""

    task_id: str
    step: int
    steps: int
    preview: bytes | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageReady:
    """One image of the task is ready."""

    task_id: str
    image: RawImage


@dataclass(frozen=True, kw_only=True)
class CandidatesReady:
    """Images of the task wait until `ChoosesRows.keep_rows` is called."""

    task_id: str
    candidates: Candidates


@dataclass(frozen=True, kw_only=True)
class TaskDone:
    """The task is done and has left the engine."""

    task_id: str
    result: TaskResult


@dataclass(frozen=True, kw_only=True)
class TaskFailed:
    """This task alone failed and has left the engine."""

    task_id: str
    error: Exception


EngineEvent = StepDone | ImageReady | CandidatesReady | TaskDone | TaskFailed


@dataclass(frozen=True, kw_only=True)
class CostSample:
    """The measured cost of `batch_size` tasks that run together: `seconds` of one "step" or "token"; or of one "pass"
    of so many batch rows, from which the next process starts. `backend`: what computed it, or of those in `TRIED`, what
    was tried."""

    what: str
    batch_size: int
    seconds: float
    backend: str = TORCH


TRIED = ("attention", "compile")
"""Values of `CostSample.what`: a pass, in a trial, with an attention kernel, and with the blocks compiled or not."""


class Engine(Protocol):
    """One model on one device. All calls come from one thread."""

    @property
    def free_slots(self) -> int:
        """Number of further tasks it accepts now."""

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """After `load_model`: `{"samplers": [...], "options": [...], "revision": "...", "dtype": "..."}`."""

    def load_model(self, device: str) -> None:
        """Raises: ModelUnavailable, OutOfMemory."""

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """Start from the `cost_samples` of earlier processes, of this model on this device in this number format."""

    def add_task(self, task: Task) -> None:
        """Run the task from the next step on. Raises: InvalidOption, EngineError."""

    def step(self) -> Sequence[EngineEvent]:
        """Compute one step of any number of its tasks. An exception ends all of them."""

    def take_usage(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call; a shared pass is split among its tasks."""

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        """What it measured of tasks like this one; empty for an engine that runs one task at a time."""

    def cancel_task(self, task_id: str) -> None:
        """Drop the task now; it has no further events."""

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """Make previews of the task's images, or stop making them."""

    def reduce_memory(self) -> str | None:
        """Go down one fallback level after a task ran out of memory: slower, but with less memory, from now on.

        Returns the level's name, such as "rows", "tiled" or "model_offload"; None: there is no further level.
        """

    def unload_model(self) -> None:
        """Free all memory."""


@runtime_checkable
class ChoosesRows(Protocol):
    """An engine that can drop some of a task's images while it makes them."""

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        """Let these images go on that wait after this step, by their indexes, and drop the others of the task."""


@runtime_checkable
class CountsPasses(Protocol):
    """An engine that counts its forward passes."""

    @property
    def pass_counts(self) -> PassCounts:
        """Since they were taken last (`PassCounts.take_from`)."""


ENGINES: Mapping[str, str] = {
    TEXT_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_TEXT_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_TO_IMAGE: "inference.diffusion.engine:DiffusionEngine",
    IMAGE_UPSCALING: "inference.upscaling.engine:UpscaleEngine",
    IMAGE_TO_TEXT: "inference.vision.engine:VisionEngine",
    VISUAL_QUESTION_ANSWERING: "inference.vision.engine:VisionEngine",
    DEPTH_ESTIMATION: "inference.depth.engine:DepthEngine",
    KEYPOINT_DETECTION: "inference.pose.engine:PoseEngine",
    ZERO_SHOT_IMAGE_CLASSIFICATION: "inference.vision.match_engine:MatchEngine",
    IMAGE_SEGMENTATION: "inference.segmentation.engine:SegmentationEngine",
}
"""Import paths by task, because importing an engine means importing torch."""
CHAT_ENGINE = "inference.vision.chat.chat_engine:ChatEngine"
"""Of models with the tag `IMAGE_TEXT_TO_TEXT`, for all their tasks."""


def engine_module(model: ModelSpec) -> str:
    """The module of its engine; empty: there is no single one."""
    modules = {path.partition(":")[0] for path in _engine_paths(model)}
    return modules.pop() if len(modules) == 1 else ""


def _engine_paths(model: ModelSpec) -> set[str]:
    if IMAGE_TEXT_TO_TEXT in model.tasks:
        return {CHAT_ENGINE}
    return {ENGINES[task] for task in model.tasks if task in ENGINES}


def build_engine(model: ModelSpec) -> Engine:
    """The engine for a model, not loaded yet. Raises: ModelUnavailable."""
    paths = _engine_paths(model)
    if len(paths) != 1:
        raise ModelUnavailable(
            model.name, f"no single engine supports {', '.join(model.tasks) or 'a model without tasks'}"
        )
    engine: Engine = import_object(paths.pop())(model)
    return engine


def import_object(path: str) -> Any:
    """The object at an import path "module:name"."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
