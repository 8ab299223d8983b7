"""Encodes and decodes large images in overlapping tiles, whose latents and pixels are blended: memory is bounded by the
tile, not by the image. Images up to `MAX_PIXELS` are encoded and decoded whole."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput

from bot.commands.refine_tiles import plan_tiles
from inference.diffusion.coroutines import Method
from inference.diffusion.tiles.tile_blending import Cells, blend_tiles, cells_of

MAX_PIXELS = 1024 * 1024
TILE_SIDE = 768
"""Pixels."""


def encode_in_tiles(scale: int) -> Callable[[Method], Method]:
    """Wraps an autoencoder's `encode`. `scale`: pixels of a latent cell's side."""

    def wrap(encode: Method) -> Method:
        def encode_tiles(image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            height, width = image.shape[-2:]
            if height * width <= MAX_PIXELS:
                return encode(image, *args, **kwargs)
            tiles = _tiles(height // scale, width // scale, scale)
            each = [
                encode(image[(..., *_scaled(cells, scale))], *args, **kwargs).latent_dist.parameters for cells in tiles
            ]
            moments = blend_tiles(each, tiles, (height // scale, width // scale))
            return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

        return encode_tiles

    return wrap


def decode_in_tiles(scale: int) -> Callable[[Method], Method]:
    """Wraps an autoencoder's `decode`, which is called for a tuple."""

    def wrap(decode: Method) -> Method:
        def decode_tiles(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            height, width = latents.shape[-2:]
            if height * width * scale**2 <= MAX_PIXELS:
                return decode(latents, *args, **kwargs)
            tiles = _tiles(height, width, scale)
            each = [decode(latents[(..., *cells)], *args, **kwargs)[0] for cells in tiles]
            pixels = [_scaled(cells, scale) for cells in tiles]
            return (blend_tiles(each, pixels, (height * scale, width * scale)),)

        return decode_tiles

    return wrap


def _tiles(height: int, width: int, scale: int) -> list[Cells]:
    """Of latents of this size."""
    side = max(1, TILE_SIDE // scale)
    plan = plan_tiles((width, height), (side, side), 1)
    return [cells_of(left, top, right - left, bottom - top) for left, top, right, bottom in plan.boxes]


def _scaled(cells: Cells, scale: int) -> Cells:
    rows, columns = (slice(side.start * scale, side.stop * scale) for side in cells)
    return rows, columns
