"""Weights in 8 bits, by torchao, which is optional: half of the memory, for a little of the precision.

Each output channel of a layer's matrix gets a scale of its own; activations stay as they are, so that it runs on every
device.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from bot.memory.placement import Plan
from inference.memory.planner import is_shrinkable

_LOUD = ("torchao", "torch.utils._pytree")
"""Loggers that say at import which of torchao's kernels for other purposes are missing."""


def shrink(module: torch.nn.Module) -> int:
    """Put the weights of its large layers into 8 bits, in place; returns how many layers that were.

    Raises: ImportError: torchao is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        chosen = {name for name, layer in module.named_modules() if _is_worth_it(name, layer)}
        quantize_(module, Int8WeightOnlyConfig(version=2), filter_fn=lambda _, name: name in chosen)
    return len(chosen)


def shrink_seats(parts: Mapping[str, torch.nn.Module], plan: Plan) -> None:
    """Those parts that the plan wants in 8 bits. LoRAs must be part of the weights already."""
    for name, seat in plan.seats.items():
        if seat.is_small and name in parts:
            shrink(parts[name])


def _is_worth_it(name: str, layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear) and is_shrinkable(name, layer.weight.shape)
