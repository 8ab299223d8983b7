"""Cuts tensors into overlapping tiles and blends what is computed of each: a fixed window, normalised.

The window is sin^2 along both sides, so a tile counts most in its middle and hardly at its edges; the weights of all
tiles add up to 1 everywhere. Sums are made in float32.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch

Cells = tuple[slice, slice]
"""Rows and columns of a tensor's last two dimensions."""


def cells_of(left: int, top: int, width: int, height: int) -> Cells:
    return slice(top, top + height), slice(left, left + width)


def tile_window(height: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """(height, width), float32, all above 0."""
    sides = (torch.sin(math.pi * (torch.arange(side) + 0.5) / side) ** 2 for side in (height, width))
    down, across = sides
    return (down[:, None] * across[None, :]).to(device)


def tile_weights(tiles: Sequence[Cells], size: tuple[int, int]) -> list[torch.Tensor]:
    """The share of each tile at each of its cells. `size`: height, width of the whole, which the tiles cover."""
    return list(_weights(tuple((rows.start, rows.stop, across.start, across.stop) for rows, across in tiles), size))


@lru_cache(maxsize=4)
def _weights(tiles: tuple[tuple[int, int, int, int], ...], size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    top, bottom, left, right = tiles[0]
    window = tile_window(bottom - top, right - left)
    total = torch.zeros(size)
    for top, bottom, left, right in tiles:
        total[top:bottom, left:right] += window
    return tuple(window / total[top:bottom, left:right] for top, bottom, left, right in tiles)


def blend_tiles(outputs: Sequence[torch.Tensor], tiles: Sequence[Cells], size: tuple[int, int]) -> torch.Tensor:
    """The weighted sum of the tiles' outputs, (..., height, width), in their number format."""
    first = outputs[0]
    blended = torch.zeros((*first.shape[:-2], *size), dtype=torch.float32, device=first.device)
    for output, cells, weight in zip(outputs, tiles, tile_weights(tiles, size), strict=True):
        blended[(..., *cells)] += output.float() * weight.to(first.device)
    return blended.to(first.dtype)
