"""Weights in 8 bits, with torchao, which is optional: half the memory for a small loss of precision.

Each output channel of a layer's matrix has its own scale. Activations are not quantized, which works on every device.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from bot.memory.placement import PlacementPlan
from inference.memory.planner import is_quantizable

_NOISY_LOGGERS = ("torchao", "torch.utils._pytree")
"""Loggers that at import report missing torchao kernels which are not used here."""


def quantize_module(module: torch.nn.Module) -> int:
    """Quantize the weights of its large layers to 8 bits, in place; returns the number of layers.

    Raises: ImportError: torchao is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        names = {name for name, layer in module.named_modules() if _is_quantizable_layer(name, layer)}
        quantize_(module, Int8WeightOnlyConfig(version=2), filter_fn=lambda _, name: name in names)
    return len(names)


def quantize_planned(components: Mapping[str, torch.nn.Module], plan: PlacementPlan) -> None:
    """Quantize the components that the plan has in 8 bits. LoRAs must be fused into the weights before."""
    for name, placement in plan.placements.items():
        if placement.is_quantized and name in components:
            quantize_module(components[name])


def _is_quantizable_layer(name: str, layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear) and is_quantizable(name, layer.weight.shape)
