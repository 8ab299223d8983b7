"""The shapes of the world: computed outlines, so no licence applies to them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


def _regular(corners: int, first_angle: float = -math.pi / 2) -> list[Point]:
    """Corners of a regular polygon on the unit circle; y grows downwards."""
    angles = [first_angle + 2 * math.pi * i / corners for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _circle() -> list[Point]:
    return _regular(180)


def _square() -> list[Point]:
    return [(-1, -1), (1, -1), (1, 1), (-1, 1)]


def _triangle() -> list[Point]:
    return [(0, -1), (1.04, 1), (-1.04, 1)]


def _star() -> list[Point]:
    outer = _regular(5)
    inner = [(0.42 * x, 0.42 * y) for x, y in _regular(5, -math.pi / 2 + math.pi / 5)]
    return [corner for pair in zip(outer, inner, strict=True) for corner in pair]


def _heart() -> list[Point]:
    turns = [2 * math.pi * i / 180 for i in range(180)]
    across = [16 * math.sin(t) ** 3 for t in turns]
    down = [-(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) for t in turns]
    return list(zip(across, down, strict=True))


def _diamond() -> list[Point]:
    return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]


def _hexagon() -> list[Point]:
    return _regular(6)


def _cross() -> list[Point]:
    arm = 1 / 3
    quarter = [(arm, -1), (arm, -arm), (1, -arm)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


OUTLINES: dict[str, Callable[[], list[Point]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "diamond": _diamond,
    "hexagon": _hexagon,
    "cross": _cross,
}
SHAPES = tuple(OUTLINES)


def outline(shape: str) -> np.ndarray:
    """The shape's corners, shape (n, 2) as (x, y), one high, its bounding box around (0, 0)."""
    points = np.array(OUTLINES[shape](), dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low)[1]


def draw_mask(
    shape: str,
    height: float = 0.75,
    centre: Point = (0.5, 0.5),
    size: int = 128,
    oversample: int = 4,
) -> np.ndarray:
    """The pixel coverage of a shape.

    Args:
        height: of the shape, as a share of the image's.
        centre: of its bounding box, as shares of the image's side.

    Returns:
        Shape (size, size), uint8, 255 for full coverage.
    """
    side = size * oversample
    corners = (outline(shape) * height + np.array(centre)) * side - 0.5
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in corners.tolist()], fill=255)
    return np.asarray(canvas.reduce(oversample))
