"""Judges pictures by their pixels alone, so that no trained model marks another's work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.world import COLOURS, SHAPES, SIZE, Combination, draw_mask

FRAME = 4
GRID = 64
HEIGHTS_ALLOWED = (0.6, 0.9)
OFF_CENTRE = 0.06


@dataclass(frozen=True)
class Judgement:
    """What pixels say a picture shows; `height` and `off_centre` are shares of its height."""

    shape: str
    colour: str
    background: str
    height: float
    off_centre: float

    def agrees(self, what: Combination) -> dict[str, bool]:
        """Point by point, whether the picture is what was asked for."""
        low, high = HEIGHTS_ALLOWED
        return {
            "shape": self.shape == what.shape,
            "colour": self.colour == what.colour,
            "background": self.background == what.background,
            "size": low <= self.height <= high and self.off_centre <= OFF_CENTRE,
        }


class Judge:
    """Compares masks with drawn shapes stretched to the same bounding box."""

    def __init__(self) -> None:
        self.templates = {shape: _boxed(draw_mask(shape) > 127) for shape in SHAPES}
        self.aspects = {shape: _aspect(draw_mask(shape) > 127) for shape in SHAPES}
        self.palette = np.array(list(COLOURS.values()), dtype=np.float32)

    def judge(self, pixels: np.ndarray) -> Judgement:
        """Judge one RGB picture, shape (128, 128, 3), uint8."""
        values = pixels.astype(np.float32)
        inner = values[FRAME:-FRAME, FRAME:-FRAME].reshape(-1, 3)
        outer = _frame(values)
        background = np.median(outer, axis=0)
        far = np.linalg.norm(values - background, axis=-1)
        colour = _middle_colour(inner[np.linalg.norm(inner - background, axis=-1) > 45])
        mask = far > 0.5 * max(float(np.linalg.norm(colour - background)), 30.0)
        if mask.sum() < 50:
            return Judgement("nothing", "nothing", self._name(background), 0.0, 1.0)
        top, bottom, left, right = _box(mask)
        middle = np.array([(top + bottom) / 2, (left + right) / 2]) / SIZE - 0.5
        return Judgement(
            self._shape(mask),
            self._name(colour),
            self._name(background),
            (bottom - top) / SIZE,
            float(np.abs(middle).max()),
        )

    def _name(self, colour: np.ndarray) -> str:
        nearest = np.linalg.norm(self.palette - colour, axis=1).argmin()
        return list(COLOURS)[int(nearest)]

    def _shape(self, mask: np.ndarray) -> str:
        """The shape whose mask overlaps most, less what its width over height is off by."""
        boxed, aspect = _boxed(mask), _aspect(mask)
        scores = {
            shape: _overlap(boxed, template) - 0.5 * abs(aspect - self.aspects[shape])
            for shape, template in self.templates.items()
        }
        return max(scores, key=lambda shape: scores[shape])


def _frame(values: np.ndarray) -> np.ndarray:
    """The outermost pixels: shape (n, 3)."""
    edge = np.ones(values.shape[:2], dtype=bool)
    edge[FRAME:-FRAME, FRAME:-FRAME] = False
    return values[edge]


def _middle_colour(pixels: np.ndarray) -> np.ndarray:
    """The median colour, or gray where there is nothing."""
    return np.median(pixels, axis=0) if len(pixels) else np.full(3, 128.0)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right, ends excluded, of rows and columns with two pixels or more."""
    rows = np.flatnonzero(mask.sum(axis=1) >= 2)
    columns = np.flatnonzero(mask.sum(axis=0) >= 2)
    if not len(rows) or not len(columns):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _boxed(mask: np.ndarray) -> np.ndarray:
    """The bounding box stretched to a square: shape (64, 64), bool."""
    top, bottom, left, right = _box(mask)
    cut = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255)
    return np.asarray(cut.resize((GRID, GRID), Image.Resampling.BILINEAR)) > 127


def _aspect(mask: np.ndarray) -> float:
    top, bottom, left, right = _box(mask)
    return (right - left) / (bottom - top)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))
