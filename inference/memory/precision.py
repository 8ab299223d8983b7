"""Chooses the number format in which a model computes on a device."""

import functools

import torch

from bot.errors import ModelUnavailable
from bot.memory.format_check import unknown_dtype
from bot.memory.placement import PlacementPlan
from bot.memory.weights import LONG_DTYPES
from bot.models import ModelSpec
from inference.engine.error_mapping import is_out_of_memory

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
HALF_DTYPES = (torch.bfloat16, torch.float16)
"""In the order that "auto" tries them: bfloat16 does not overflow."""


def dtype_for(model: ModelSpec, device: str) -> torch.dtype:
    """The configured dtype; "auto": half precision where the device supports it, full precision on CPU and Apple GPUs.
    (On a CPU, `ModelCache` replaces "auto" by bfloat16 where a trial has found it quicker.)

    Raises: ModelUnavailable.
    """
    if model.dtype != "auto":
        try:
            return _DTYPES[LONG_DTYPES.get(model.dtype, model.dtype)]
        except KeyError:
            raise ModelUnavailable(model.name, unknown_dtype(model.dtype)) from None
    if device.partition(":")[0] in ("cpu", "mps"):
        return torch.float32
    return best_half_dtype(device) or torch.float32


@functools.cache
def best_half_dtype(device: str) -> torch.dtype | None:
    """The first half-precision format in which the device computes correctly, by trial; None: none.

    Cards older than Ampere emulate bfloat16 slowly, which is not used.
    """
    if device.startswith("cuda") and not torch.version.hip and torch.cuda.get_device_capability(device)[0] < 8:
        candidates: tuple[torch.dtype, ...] = (torch.float16,)
    else:
        candidates = HALF_DTYPES
    return next((dtype for dtype in candidates if can_compute(dtype, device)), None)


@torch.no_grad()
def can_compute(dtype: torch.dtype, device: str) -> bool:
    """Whether a small product and a small convolution are correct and without NaN.

    Raises: RuntimeError: the device's memory is full, which is no statement about the format.
    """
    try:
        numbers = torch.linspace(-1, 1, 256, device=device, dtype=dtype).reshape(16, 16)
        product = numbers @ numbers.T
        folded = torch.nn.functional.conv2d(numbers[None, None], numbers[None, None, :3, :3], padding=1)
        expected = numbers.cpu().float() @ numbers.cpu().float().T
        is_right = torch.allclose(product.cpu().float(), expected, atol=0.1)
        return is_right and bool(torch.isfinite(product).all()) and bool(torch.isfinite(folded).all())
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        return False


def planned_dtype(plan: PlacementPlan, dtype: torch.dtype) -> torch.dtype:
    """The plan's format, if it computes on the CPU; otherwise the dtype."""
    return _DTYPES.get(plan.format, dtype)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
