"""Cuts tensors into overlapping tiles and blends what is computed of each: a fixed window, normalised.

The window is sin^2 along both sides, so a tile counts most in its middle and hardly at its edges; the weights of all
tiles add up to 1 everywhere. Sums are made in float32.
"""

import math
from collections.abc import Sequence

import torch

Cells = tuple[slice, slice]
"""Rows and columns of a tensor's last two dimensions."""


def cells_of(left: int, top: int, width: int, height: int) -> Cells:
    return slice(top, top + height), slice(left, left + width)


def tile_window(height: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """(height, width), float32, all above 0."""
    down, across = (torch.sin(math.pi * (torch.arange(side) + 0.5) / side) ** 2 for side in (height, width))
    return (down[:, None] * across[None, :]).to(device)


def blend_tiles(outputs: Sequence[torch.Tensor], tiles: Sequence[Cells], size: tuple[int, int]) -> torch.Tensor:
    """The weighted mean of the tiles' outputs, (..., height, width), in their number format.

    `tiles`: of one size; they cover the whole, whose `size` is (height, width).
    """
    first = outputs[0]
    height, width = first.shape[-2:]
    window = tile_window(height, width, first.device)
    blended = torch.zeros((*first.shape[:-2], *size), dtype=torch.float32, device=first.device)
    total = torch.zeros(size, device=first.device)
    for output, cells in zip(outputs, tiles, strict=True):
        blended[(..., *cells)] += output.float() * window
        total[cells] += window
    return blended.div_(total).to(first.dtype)
