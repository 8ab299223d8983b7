"""Outline maps, white lines on black: of silhouettes, and of all edges in a picture as Canny finds them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from training.world import SIZE

HIGHEST_MAGNITUDE = 4 * 255 * np.sqrt(2)
HYSTERESIS_ROUNDS = 12
"""How many pixels weak edges are followed from strong ones."""


def outline_silhouettes(masks: np.ndarray, width: int = 1) -> np.ndarray:
    """The outer lines of each mask: shape (size, size), bool.

    Args:
        masks: shape (n, size, size), in [0, 1].
        width: of the lines, 1 to 3 pixels.
    """
    lines = np.zeros(masks.shape[1:], dtype=bool)
    for mask in masks > 0.5:
        inside = ~grow_mask(~mask)
        lines |= mask & ~inside
    return lines if width == 1 else grow_mask(lines, square=width == 3)


def outline_edges(pixels: np.ndarray, low: float = 0.06, high: float = 0.14, radius: float = 0.8) -> np.ndarray:
    """The edges of a picture by Canny's method: shape (size, size), bool.

    Args:
        pixels: RGB, shape (size, size, 3), uint8.
        low: weakest gradient of an edge that continues a strong one, as a share of the strongest possible gradient.
        high: weakest gradient of a strong edge.
        radius: of the blur before.
    """
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    across, down = _sobel(soft, axis=1), _sobel(soft, axis=0)
    strongest = np.hypot(across, down).argmax(axis=2)[..., None]
    across, down = (np.take_along_axis(one, strongest, axis=2)[..., 0] for one in (across, down))
    magnitude = np.hypot(across, down) / HIGHEST_MAGNITUDE
    ridge = magnitude * _is_ridge(magnitude, across, down)
    edges, weak = ridge >= high, ridge >= low
    for _ in range(HYSTERESIS_ROUNDS):
        edges = grow_mask(edges, square=True) & weak
    return edges


def grow_mask(mask: np.ndarray, square: bool = False) -> np.ndarray:
    """One pixel in four directions, or in eight."""
    padded = np.pad(mask, 1)
    rows = padded[1:-1] | padded[:-2] | padded[2:]
    if square:
        return rows[:, 1:-1] | rows[:, :-2] | rows[:, 2:]
    return rows[:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def fill_silhouette(foreground: np.ndarray) -> np.ndarray:
    """Fill the holes: everything that the image's border cannot reach through the background."""
    outside = np.zeros_like(foreground)
    outside[[0, -1]], outside[:, [0, -1]] = ~foreground[[0, -1]], ~foreground[:, [0, -1]]
    while True:
        grown = grow_mask(outside) & ~foreground
        if (grown == outside).all():
            return ~outside
        outside = grown


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float:
    """Of two masks; 1 for two empty ones."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def _sobel(values: np.ndarray, axis: int) -> np.ndarray:
    """Differences along an axis, smoothed along the other one."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    other = 1 - axis
    before, here, after = (padded.take(range(n, n + SIZE), axis=other) for n in range(3))
    smooth = before + 2 * here + after
    return np.asarray(smooth.take(range(2, SIZE + 2), axis=axis) - smooth.take(range(SIZE), axis=axis))


def _is_ridge(magnitude: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Whether no neighbour along the gradient, in one of four directions, is stronger."""
    direction = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    padded, result = np.pad(magnitude, 1), np.zeros(magnitude.shape, dtype=bool)
    for number, (x, y) in enumerate(((1, 0), (1, 1), (0, 1), (-1, 1))):
        ahead = padded[1 + y : SIZE + 1 + y, 1 + x : SIZE + 1 + x]
        behind = padded[1 - y : SIZE + 1 - y, 1 - x : SIZE + 1 - x]
        result |= (direction == number) & (magnitude >= ahead) & (magnitude > behind)
    return result
