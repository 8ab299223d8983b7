"""What number formats the device and the installed libraries have for a model that is about to be loaded."""

from pathlib import Path

import torch

from bot.memory import format_check
from bot.memory.weights import has_torchao
from bot.models import ModelSpec
from inference.checkpoints.prequantized import read_prequantized

DYNAMIC_FP8_CAPABILITY = (8, 9)
"""NVIDIA cards from Ada on multiply 8-bit floats."""


def format_problem(model: ModelSpec, folder: Path, kind: str) -> str:
    """Why the model cannot have its format on this kind of device, without its beginning and its full stop."""
    found = read_prequantized(folder)
    support = format_check.installed_support(kind, card_capability(kind))
    return format_check.format_problem(model, support, found.method, found.precision)


def card_capability(kind: str) -> tuple[int, int] | None:
    """The compute capability of the NVIDIA card; None on other devices."""
    return torch.cuda.get_device_capability() if kind == "cuda" and torch.cuda.is_available() else None


def uses_dynamic_fp8(kind: str, capability: tuple[int, int] | None, dtype: torch.dtype) -> bool:
    """Whether `quantize = "fp8"` multiplies 8-bit floats, with dynamic activations, instead of only storing them.

    One scale per row keeps each image independent of the others in its batch; torchao has that for bfloat16 alone.
    """
    is_able = kind == "cuda" and capability is not None and capability >= DYNAMIC_FP8_CAPABILITY
    return is_able and dtype == torch.bfloat16 and has_torchao()
