"""What number formats the device and the installed libraries have for a model that is about to be loaded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from bot.memory import format_check
from bot.memory.placement import PlacementPlan
from bot.memory.weights import FP8, FP8_DYNAMIC, has_torchao
from bot.models import TORCH, ModelSpec
from inference.checkpoints.prequantized import read_prequantized

DYNAMIC_FP8_CAPABILITY = (8, 9)
"""NVIDIA cards from Ada on multiply 8-bit floats."""


def format_problem(model: ModelSpec, folder: Path, kind: str, device: str) -> str:
    """Why torch cannot load the model in its format on this kind of device, without its beginning and its full stop."""
    found = read_prequantized(folder)
    support = format_check.installed_support(kind, card_capability(kind, device))
    return format_check.format_problem(replace(model, backend=TORCH), support, found.method, found.precision)


def weight_formats(
    components: Mapping[str, torch.nn.Module], plan: PlacementPlan, *, has_dynamic_fp8: bool
) -> list[str]:
    """The formats of weights that are not in the model's number format: those of the plan, and those of its files.

    8-bit floats with dynamic activations are named apart from those that are only stored.
    """
    planned = {one.weights for name, one in plan.placements.items() if name in components} - {""}
    if has_dynamic_fp8 and FP8 in planned:
        planned = planned - {FP8} | {FP8_DYNAMIC}
    parameters = (parameter for component in components.values() for parameter in component.parameters())
    kinds = {getattr(parameter, "quant_type", None) for parameter in parameters}
    stored = {f"GGUF {kind.name}" for kind in kinds if kind is not None and hasattr(kind, "name")}
    return sorted(planned | stored)


def card_capability(kind: str, device: str) -> tuple[int, int] | None:
    """The compute capability of the NVIDIA card; None on other devices."""
    return torch.cuda.get_device_capability(device) if kind == "cuda" and torch.cuda.is_available() else None


def uses_dynamic_fp8(kind: str, capability: tuple[int, int] | None, dtype: torch.dtype) -> bool:
    """Whether `quantize = "fp8"` multiplies 8-bit floats, with dynamic activations, instead of only storing them.

    One scale per row keeps each image independent of the others in its batch; torchao has that for bfloat16 alone.
    """
    is_able = kind == "cuda" and capability is not None and capability >= DYNAMIC_FP8_CAPABILITY
    return is_able and dtype == torch.bfloat16 and has_torchao()
