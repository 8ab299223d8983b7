"""Seamless pictures: every convolution of a module pads with the opposite edge instead of zeros.

The padding is a setting of the module, so calls with and without tiling never share a pass, and whoever makes a call
sets it before.
"""

from typing import Any

import torch

_IS_TILED = "_easel_is_tiled"


def is_tileable(module: Any) -> bool:
    """Whether convolutions alone know where the edges are: transformers have positions instead."""
    return isinstance(module, torch.nn.Module) and type(module).__name__.startswith(("UNet2D", "Autoencoder"))


def set_tiling(module: Any, is_tiled: bool) -> None:
    """Let the module's convolutions wrap around, or not; nothing to do if they already do as asked."""
    if not isinstance(module, torch.nn.Module) or module.__dict__.get(_IS_TILED, False) == is_tiled:
        return
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.padding_mode = "circular" if is_tiled else "zeros"
    module.__dict__[_IS_TILED] = is_tiled
