"""Judges pictures against what was asked: colours by their pixels, things by the independent classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training import classifier
from training.classifier import NAMES, NUMBERS, cut_out, scores
from training.colours import COLOURS
from training.world import SIZE, Placed, Scene

FRAME = 4
"""Width of the picture's edge, in pixels, that tells its background."""
DIFFERENT = 45
"""How far a pixel's colour must lie from the background's to belong to something else."""
Marks = dict[str, bool]


class Judge:
    """Looks where things should stand."""

    def __init__(self, model: classifier.Classifier | None = None) -> None:
        self.model = model or classifier.load()
        self.palette = np.array(list(COLOURS.values()), dtype=np.float32)

    def marks(self, pixels: np.ndarray, scene: Scene) -> Marks:
        """Whether the background, the things, their colours and their places are what was asked.

        Args:
            pixels: RGB, shape (128, 128, 3), uint8.
        """
        layout = scene.layout()
        found = scores(self.model, [cut_out(pixels, placed) for placed in layout])
        ranks = [int((row > row[NUMBERS[p.thing.name]]).sum()) for row, p in zip(found, layout, strict=True)]
        ground = background(pixels)
        coloured = [placed for placed in layout if placed.thing.colour]
        return {
            "background": self.name(ground) == scene.background,
            "thing": max(ranks) == 0,
            "thing in five": max(ranks) < 5,
            "colour": all(self.name(colour_of(pixels, p, ground)) == p.thing.colour for p in coloured),
            "place": is_confined(pixels, layout, ground),
        }

    def named(self, pixels: np.ndarray, placed: Placed) -> str:
        """What the classifier takes a thing for."""
        return NAMES[int(scores(self.model, [cut_out(pixels, placed)]).argmax())]

    def name(self, colour: np.ndarray) -> str:
        """The nearest of the named colours."""
        return list(COLOURS)[int(np.linalg.norm(self.palette - colour, axis=1).argmin())]


def background(pixels: np.ndarray) -> np.ndarray:
    """The median colour of the picture's edge: shape (3,)."""
    edge = np.ones(pixels.shape[:2], dtype=bool)
    edge[FRAME:-FRAME, FRAME:-FRAME] = False
    return np.median(pixels[edge].astype(np.float32), axis=0)


def colour_of(pixels: np.ndarray, placed: Placed, ground: np.ndarray) -> np.ndarray:
    """The median colour of what stands out where a thing should be, or gray where nothing does."""
    inside = pixels[_box(placed, 0.6)].reshape(-1, 3).astype(np.float32)
    inside = inside[np.linalg.norm(inside - ground, axis=-1) > DIFFERENT]
    return np.median(inside, axis=0) if len(inside) else np.full(3, 128.0)


def is_confined(pixels: np.ndarray, layout: Sequence[Placed], ground: np.ndarray) -> bool:
    """Whether something stands where each thing should, and next to nothing anywhere else."""
    stands_out = np.linalg.norm(pixels.astype(np.float32) - ground, axis=-1) > DIFFERENT
    elsewhere = stands_out.copy()
    for placed in layout:
        if stands_out[_box(placed, 1.0)].mean() < 0.03:
            return False
        elsewhere[_box(placed, 1.3)] = False
    return bool(elsewhere.mean() < 0.02)


def _box(placed: Placed, scale: float) -> tuple[slice, slice]:
    """Rows and columns of the square around a thing."""
    half = placed.height * scale / 2
    x, y = placed.centre
    rows = slice(max(0, round((y - half) * SIZE)), min(SIZE, round((y + half) * SIZE)))
    return rows, slice(max(0, round((x - half) * SIZE)), min(SIZE, round((x + half) * SIZE)))
