"""Finds the quickest way to compute a denoiser's passes on this device, with a whole image for each: attention kernels,
then compiled blocks. What changes the image by more than its limit, or fails, is not used."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch

from inference.diffusion.execution.denoiser_execution import (
    ATTENTION,
    COMPILE,
    COMPILED,
    NEVER_S,
    UNCOMPILED,
    DenoiserExecution,
    is_compiling_worth_it,
)
from inference.engine.base import CostSample
from inference.engine.error_mapping import is_out_of_memory
from inference.engine.image_levels import largest_difference
from inference.ipc import child

MAX_TRIAL_S = 180.0
"""Nothing further is tried if its image would end later: slow models have their whole trial in a job's time."""
MAX_LEVELS, MAX_LEVELS_HALF = 1, 4
"""How far a value of the image may be off, of 256 levels. In half precision, compiled blocks round fewer times than
uncompiled ones: neither image is the exact one. Attention kernels get one level in each format."""


class UntriableImage(Exception):
    """The image is not made of passes that can be timed."""


@dataclass(frozen=True)
class TimedImage:
    """`pixels`: uint8 RGB; `pass_s`: the median of its passes but the first."""

    pixels: numpy.ndarray
    pass_s: float

    def levels_from(self, other: "TimedImage") -> int:
        return largest_difference(self.pixels, other.pixels)


Paint = Callable[[], TimedImage]


def try_execution(
    execution: DenoiserExecution, paint: Paint, clock: Callable[[], float] = time.monotonic
) -> list[CostSample]:
    """Leaves the quickest choices in use; returns what was measured. Raises: what painting on plain torch raises."""
    if len(execution.kernels) < 2 and not execution.can_try_compile:
        return []
    execution.kernel = execution.kernels[0]
    execution.stop_compiling()  # compiled blocks keep the kernel that they were compiled with
    started_at = clock()
    try:
        plain = paint()
    except UntriableImage:
        execution.start_as_configured()
        return []
    image_s = clock() - started_at

    def has_time() -> bool:
        return clock() - started_at + image_s <= MAX_TRIAL_S

    seconds = {execution.kernel.name: plain.pass_s}
    for kernel in execution.kernels[1:]:
        if not has_time():
            break
        execution.kernel = kernel
        image = _try_image(paint, kernel.name)
        is_good = image is not None and execution.kernel is kernel and image.levels_from(plain) <= MAX_LEVELS
        seconds[kernel.name] = image.pass_s if is_good and image is not None else NEVER_S
    execution.kernel = execution.fastest_kernel(seconds)
    execution.start_as_configured()
    samples = [CostSample(what=ATTENTION, batch_size=1, seconds=one, backend=name) for name, one in seconds.items()]
    if execution.can_try_compile and has_time():
        samples += _try_compiling(execution, paint, plain, seconds[execution.kernel.name])
    return samples


def _try_compiling(
    execution: DenoiserExecution, paint: Paint, plain: TimedImage, uncompiled_s: float
) -> list[CostSample]:
    limit = MAX_LEVELS if execution.dtype == torch.float32 else MAX_LEVELS_HALF
    execution.start_compiling()
    image = _try_image(paint, COMPILED)
    is_good = image is not None and execution.compiled is not None and image.levels_from(plain) <= limit
    seconds = {UNCOMPILED: uncompiled_s, COMPILED: image.pass_s if is_good and image is not None else NEVER_S}
    if not is_compiling_worth_it(seconds):
        execution.stop_compiling()
    return [CostSample(what=COMPILE, batch_size=1, seconds=one, backend=name) for name, one in seconds.items()]


def _try_image(paint: Paint, name: str) -> TimedImage | None:
    """None: it failed."""
    try:
        return paint()
    except Exception as error:  # a kernel that does not work here is not used
        child.log("info", "A way to compute the model's passes does not work here", kernel=name, error=str(error)[:300])
        if is_out_of_memory(error) and torch.cuda.is_available():
            error.__traceback__ = None
            torch.cuda.empty_cache()
        return None
