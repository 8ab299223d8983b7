"""A model's trial on a CPU is repeated in bfloat16; where that is quicker, `dtype = "auto"` is bfloat16 from then on.

Only processors that multiply bfloat16 numbers are asked, since others emulate it, many times slower. float32 stays
unless much time is saved, because bfloat16 costs images some levels, which the trial reports. Demo models keep float32.
What was found holds for these weights on this processor. Before the second run, that one counts as failed: if it ends
the process, the next trial does without.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy

from bot.errors import ModelUnavailable
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, TORCH, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import FORMAT, Measurement, Task
from bot.problem_texts.model_problems import IN_BFLOAT16
from inference.backends.builds import processor_name
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.base import Engine
from inference.engine.image_levels import largest_difference
from inference.hardware.probe import has_bfloat16
from inference.ipc import child
from inference.ipc.messages import PackedError, RawImage, TaskResult

LEVELS = "format_levels"
"""What is measured as well: in place of seconds, the largest difference of the images in bfloat16, of 255."""
FULL, HALF = "float32", "bfloat16"
MIN_GAIN = 0.1
"""bfloat16 must save at least this part of a step."""
NEVER_S = 3600.0
"""Recorded as the seconds of a step in bfloat16 that failed."""
HOPELESS = 1.5
"""The second run is given up where each step takes this many times as long as in the first."""
TASKS = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING})


def has_bfloat16_instructions() -> bool:
    """Whether this processor multiplies bfloat16 numbers. Imports torch."""
    import torch

    return has_bfloat16(torch)


def may_choose_format(model: ModelSpec, device: str) -> bool:
    """Whether its number format is chosen by measuring."""
    is_plain = model.dtype == "auto" and model.backend == TORCH and model.quantize in ("auto", "none")
    return device == "cpu" and is_plain and not model.demo and bool(TASKS & set(model.tasks))


def format_key(model: ModelSpec) -> str:
    """Of the model's weights and of this processor: what a trial has found holds for both."""
    revision = ""
    with suppress(ModelUnavailable, OSError):
        revision = model_revision(model, model_path(model))
    return hashlib.sha256(f"{revision} {processor_name()}".encode()).hexdigest()[:24]


def choose_format(measurements: Iterable[Measurement], key: str) -> str:
    """By what trials of the model have measured, the latest last; empty: nothing. `key`: its `format_key`."""
    seconds = {one.backend: one.seconds for one in measurements if (one.what, one.shape) == (FORMAT, key)}
    if not {FULL, HALF} <= seconds.keys():
        return ""
    return HALF if seconds[HALF] <= (1 - MIN_GAIN) * seconds[FULL] else FULL


def describe_choice(measurements: Iterable[Measurement], key: str) -> dict[str, Any]:
    """For the capabilities of a model in bfloat16: how many times as fast a step is, and what that costs images."""
    measured = [one for one in measurements if one.shape == key]
    if choose_format(measured, key) != HALF:
        return {}
    seconds = {one.backend: one.seconds for one in measured if one.what == FORMAT}
    levels = next((one.seconds for one in reversed(measured) if one.what == LEVELS), None)
    gain = {"dtype_gain": round(seconds[FULL] / seconds[HALF], 2)} if seconds[HALF] else {}
    return gain if levels is None else gain | {"dtype_levels": math.ceil(levels)}


@dataclass
class TrialRun:
    """What a trial's run made. `step_s`: the quickest step but the first, which warms up."""

    images: dict[int, RawImage] = field(default_factory=dict)
    result: TaskResult = field(default_factory=TaskResult)
    step_s: float = 0.0

    def end(self, result: TaskResult, step_times_s: Sequence[float]) -> None:
        self.result, self.step_s = result, min(step_times_s[1:] or step_times_s, default=0.0)

    def levels_from(self, other: "TrialRun") -> int:
        """The largest difference of any value of the images, of 255."""
        pairs = ((self.images[index], other.images[index]) for index in self.images.keys() & other.images.keys())
        return max((_levels(one, two) for one, two in pairs), default=0)


def _levels(one: RawImage, two: RawImage) -> int:
    return largest_difference(*(numpy.frombuffer(image.pixels, numpy.uint8) for image in (one, two)))


@dataclass
class FormatTrial:
    """One task, in float32 and then in bfloat16. The parent gets the images of the first run."""

    full: TrialRun = field(default_factory=TrialRun)
    half: TrialRun | None = None

    @property
    def run(self) -> TrialRun:
        """The one that is going on."""
        return self.half or self.full

    @property
    def is_repeating(self) -> bool:
        return self.half is not None

    def result(self) -> TaskResult:
        """Of the first run, with a note if bfloat16 will be used."""
        if self.half is None or choose_format(self.measurements("", "", ""), "") != HALF:
            return self.full.result
        found = f"{self.full.step_s / self.half.step_s:.1f}x"
        if self.full.images:
            found += f", {self.half.levels_from(self.full)}/255"
        return replace(self.full.result, notes=(*self.full.result.notes, IN_BFLOAT16.format(words=found)))

    def measurements(self, device: str, model: str, key: str) -> list[Measurement]:
        """None if a run had no steps. A second run that failed is never chosen."""
        half_s = (self.half.step_s if self.half is not None else 0.0) or NEVER_S
        found = [(FORMAT, FULL, self.full.step_s), (FORMAT, HALF, half_s)] if self.full.step_s else []
        if self.full.images and self.half is not None and self.half.images:
            found.append((LEVELS, HALF, float(self.half.levels_from(self.full))))
        return [
            Measurement(
                device=device, model=model, dtype="", shape=key, batch_size=1, what=what, seconds=value, backend=name
            )
            for what, name, value in found
        ]


class FormatCache(Protocol):
    """Of the model cache, what trials of formats need."""

    def __getitem__(self, name: str) -> Engine: ...

    def load_model(self, model: ModelSpec, *, busy: frozenset[str]) -> PackedError | None: ...

    def load_in(self, model: ModelSpec, dtype: str) -> PackedError | None: ...

    def format_key_of(self, model: ModelSpec) -> str: ...

    def measured_format(self, model: ModelSpec) -> str: ...

    def remember(self, measured: Measurement) -> None: ...


class FormatTrials:
    """The trials that run. `report`: called with a task's id and a measurement."""

    def __init__(self, models: FormatCache, device: str, report: Callable[[str, Measurement], None]) -> None:
        self._models = models
        self._device = device
        self._report = report
        self._trials: dict[str, FormatTrial] = {}

    def start(self, task: Task) -> None:
        """Watch the task if it is one that is to be repeated: a trial, not yet measured, in float32 on a CPU."""
        name = task.model.name
        is_open = task.is_trial and task.task in TASKS and may_choose_format(task.model, self._device)
        if (
            is_open
            and self._models[name].capabilities.get("dtype") == FULL
            and not self._models.measured_format(task.model)
            and has_bfloat16_instructions()
        ):
            self._trials[task.id] = FormatTrial()

    def forget(self, task_id: str) -> None:
        self._trials.pop(task_id, None)

    def is_repeating(self, task_id: str) -> bool:
        """Whether the task is in its second run, whose images and errors are not for the parent."""
        return task_id in self._trials and self._trials[task_id].is_repeating

    def is_hopeless(self, task_id: str, step_times_s: Sequence[float]) -> bool:
        """Whether the task is in its second run, which is so slow that it can end."""
        if not self.is_repeating(task_id):
            return False
        return min(step_times_s[1:], default=0.0) > HOPELESS * self._trials[task_id].full.step_s

    def keep_image(self, task_id: str, image: RawImage) -> None:
        """Keep an image for the comparison."""
        if task_id in self._trials:
            self._trials[task_id].run.images[image.index] = image

    def end_run(self, task: Task, result: TaskResult, step_times_s: Sequence[float]) -> TaskResult | None:
        """A run has ended: the task's result, or None, if it has started once more, in bfloat16."""
        trial = self._trials.get(task.id)
        if trial is None:
            return result
        trial.run.end(result, step_times_s)
        if not trial.is_repeating and trial.full.step_s:
            trial.half = TrialRun()
            self._record(task, trial)
            try:
                if self._models.load_in(task.model, HALF) is None:
                    self._models[task.model.name].add_task(task)
                    return None
            except Exception as error:  # the first run has succeeded
                child.log("info", "A model does not run in bfloat16", model=task.model.name, error=str(error)[:300])
        return self.end(task)

    def end(self, task: Task) -> TaskResult:
        """The result of the first run. The model is then loaded in the format that was quicker."""
        trial = self._trials.pop(task.id)
        self._record(task, trial)
        self._models.load_model(task.model, busy=frozenset())
        return trial.result()

    def _record(self, task: Task, trial: FormatTrial) -> None:
        for measurement in trial.measurements(self._device, task.model.name, self._models.format_key_of(task.model)):
            self._report(task.id, measurement)
            self._models.remember(measurement)
