"""Seamless pictures: every convolution of a module pads with the opposite edge instead of zeros.

The padding is a setting of the module, so calls with and without tiling never share a pass, and it is set before each.
"""

from dataclasses import replace
from typing import Any

import torch

from inference.diffusion.coroutines import ModuleCall

_IS_TILED = "_easel_is_tiled"
_MARGIN = 8
"""Latent cells of the opposite edges that are decoded with an image whose decoder works in tiles."""


def is_tileable(module: Any) -> bool:
    """Whether convolutions alone know where the edges are: transformers have positions instead."""
    return isinstance(module, torch.nn.Module) and type(module).__name__.startswith(("UNet2D", "Autoencoder"))


def set_tiling(module: Any, is_tiled: bool) -> None:
    """Let the module's convolutions wrap around, or not; nothing to do if they already do as asked."""
    if not isinstance(module, torch.nn.Module) or module.__dict__.get(_IS_TILED, False) == is_tiled:
        return
    module.__dict__[_IS_TILED] = is_tiled
    renew_tiling(module)


def renew_tiling(module: Any) -> None:
    """Let all its convolutions do as was last asked for: after some were added, such as a LoRA's."""
    is_tiled = module.__dict__.get(_IS_TILED, False)
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.padding_mode = "circular" if is_tiled else "zeros"


def works_in_tiles(decoder: Any, call: ModuleCall) -> bool:
    """Whether an autoencoder, to save memory, makes this call in tiles. Convolutions that wrap around would then join
    the edges of each tile, not those of the image."""
    if not getattr(decoder, "use_tiling", False) or not call.args or not isinstance(call.args[0], torch.Tensor):
        return False
    name = "tile_latent_min_size" if call.method == "decode" else "tile_sample_min_size"
    return bool(max(call.args[0].shape[-2:]) > getattr(decoder, name, 0))


def execute_seamless(decoder: Any, call: ModuleCall) -> Any:
    """Make a call in tiles: an image is decoded with some of its opposite edges around it, which are then cut off."""
    latents: torch.Tensor = call.args[0]
    if call.method != "decode" or call.kwargs.get("return_dict") is not False:
        return call.execute(decoder)
    margin = min(_MARGIN, *latents.shape[-2:])
    around = torch.nn.functional.pad(latents, (margin,) * 4, mode="circular")
    pixels: torch.Tensor = replace(call, args=(around, *call.args[1:])).execute(decoder)[0]
    cut = margin * pixels.shape[-1] // around.shape[-1]
    return (pixels[..., cut:-cut, cut:-cut],)
