"""The world the starter models live in: one flat shape, centred on one flat background.

Everything is drawn here by arithmetic, so the pictures belong to nobody else. The held-out
combinations are fixed by a hash of their names: no model may see them in training.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 128
"""Width and height of a picture, in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 215, 50),
    "orange": (245, 140, 30),
    "purple": (130, 50, 180),
    "pink": (250, 150, 190),
    "black": (15, 15, 15),
    "white": (255, 255, 255),
    "gray": (130, 130, 130),
    "brown": (120, 75, 40),
    "cyan": (60, 210, 220),
}

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

HELD_OUT_SHARE = 0.12
CANONICAL = ("circle", "red", "blue")


@dataclass(frozen=True, order=True)
class Combination:
    """What a prompt names: a shape, its colour, and the colour behind it."""

    shape: str
    colour: str
    background: str

    @property
    def caption(self) -> str:
        """The plainest wording."""
        return f"{article(self.colour)} {self.colour} {self.shape} on {self.backdrop}"

    @property
    def backdrop(self) -> str:
        """The background as a noun phrase: `an orange background`."""
        return f"{article(self.background)} {self.background} background"


@dataclass(frozen=True)
class Scene:
    """A combination with its measures, all as shares of the picture's side."""

    what: Combination
    height: float = 0.75
    centre: Point = (0.5, 0.5)


def article(word: str) -> str:
    """`a` or `an`, as the next word wants it."""
    return "an" if word[0] in "aeiou" else "a"


def all_combinations() -> list[Combination]:
    """Every combination whose shape can be told from its background, in a fixed order."""
    triples = itertools.product(SHAPES, COLOURS, COLOURS)
    return [Combination(*t) for t in triples if t[1] != t[2]]


def is_held_out(what: Combination) -> bool:
    """Whether no model may see this combination in training."""
    if (what.shape, what.colour, what.background) == CANONICAL:
        return True
    return _hash(what) < HELD_OUT_SHARE


def held_out() -> list[Combination]:
    """The held-out combinations, the canonical example first, then in an arbitrary fixed order."""
    canonical = Combination(*CANONICAL)
    rest = [what for what in all_combinations() if is_held_out(what) and what != canonical]
    return [canonical, *sorted(rest, key=_hash)]


def for_training() -> list[Combination]:
    """The combinations models are trained on."""
    return [what for what in all_combinations() if not is_held_out(what)]


def _hash(what: Combination) -> float:
    """A number in [0, 1) that depends on the names alone."""
    name = f"easel/{what.shape}/{what.colour}/{what.background}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def outline(shape: str) -> np.ndarray:
    """The shape's corners, shape (n, 2) as (x, y), one high, its bounding box around (0, 0)."""
    points = np.array(OUTLINES[shape](), dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low)[1]


def draw_mask(
    shape: str,
    height: float = 0.75,
    centre: Point = (0.5, 0.5),
    size: int = SIZE,
    oversample: int = 4,
) -> np.ndarray:
    """How much of each pixel the shape covers.

    Args:
        height: the shape's height as a share of the picture's.
        centre: of its bounding box, as shares of the picture's side.

    Returns:
        Shape (size, size), uint8, 255 where wholly covered.
    """
    side = size * oversample
    corners = (outline(shape) * height + np.array(centre)) * side - 0.5
    canvas = Image.new("L", (side, side))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in corners.tolist()], fill=255)
    return np.asarray(canvas.reduce(oversample))


def paint(mask: np.ndarray, colour: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Lay a colour over a background where the mask says.

    Args:
        mask: shape (height, width), uint8.
        colour, background: RGB, shape (3,), in [0, 255].

    Returns:
        RGB, shape (height, width, 3), uint8.
    """
    cover = mask[..., None].astype(np.float32) / 255
    return (background + cover * (colour - background) + 0.5).astype(np.uint8)


def render(scene: Scene, size: int = SIZE) -> np.ndarray:
    """Draw a scene: RGB, shape (size, size, 3), uint8."""
    mask = draw_mask(scene.what.shape, scene.height, scene.centre, size)
    return paint(mask, rgb(scene.what.colour), rgb(scene.what.background))


def rgb(colour: str) -> np.ndarray:
    """A named colour: shape (3,), float32 in [0, 255]."""
    return np.array(COLOURS[colour], dtype=np.float32)


def random_scene(rng: np.random.Generator, among: Iterable[Combination]) -> Scene:
    """Draw one centred scene of a random height."""
    choices = list(among)
    return Scene(choices[int(rng.integers(len(choices)))], height=random_height(rng))


def random_height(rng: np.random.Generator) -> float:
    """Around 0.75 when a prompt does not say, always well inside 0.6 to 0.9."""
    return float(rng.triangular(0.65, 0.75, 0.85))
