"""Judges images against the requested scene: colours by their pixels, things by the independent classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training import classifier
from training.classifier import CLASS_INDEX, CLASSES, classify_crops, crop_thing
from training.colours import COLOURS
from training.world import SIZE, Placed, Scene

FRAME = 4
"""Width of the image's border, in pixels, whose median is the background colour."""
MIN_COLOUR_DISTANCE = 45
"""RGB distance from the background above which a pixel is foreground."""
Marks = dict[str, bool]


class ImageJudge:
    """Checks an image at the positions where its scene has things."""

    def __init__(self, model: classifier.Classifier | None = None) -> None:
        self.model = model or classifier.load_classifier()
        self.palette = np.array(list(COLOURS.values()), dtype=np.float32)

    def judge_image(self, pixels: np.ndarray, scene: Scene) -> Marks:
        """Whether the background, the things, their colours and their positions are correct.

        Args:
            pixels: RGB, shape (128, 128, 3), uint8.
        """
        layout = scene.layout()
        logits = classify_crops(self.model, [crop_thing(pixels, placed) for placed in layout])
        ranks = [int((row > row[CLASS_INDEX[p.thing.name]]).sum()) for row, p in zip(logits, layout, strict=True)]
        background = background_colour(pixels)
        coloured = [placed for placed in layout if placed.thing.colour]
        return {
            "background": self.nearest_colour(background) == scene.background,
            "thing": max(ranks) == 0,
            "thing in five": max(ranks) < 5,
            "colour": all(self.nearest_colour(thing_colour(pixels, p, background)) == p.thing.colour for p in coloured),
            "place": is_confined(pixels, layout, background),
        }

    def classify_thing(self, pixels: np.ndarray, placed: Placed) -> str:
        """The classifier's name for a thing."""
        return CLASSES[int(classify_crops(self.model, [crop_thing(pixels, placed)]).argmax())]

    def nearest_colour(self, colour: np.ndarray) -> str:
        """The name of the closest named colour."""
        return list(COLOURS)[int(np.linalg.norm(self.palette - colour, axis=1).argmin())]


def background_colour(pixels: np.ndarray) -> np.ndarray:
    """The median colour of the image's border: shape (3,)."""
    edge = np.ones(pixels.shape[:2], dtype=bool)
    edge[FRAME:-FRAME, FRAME:-FRAME] = False
    return np.median(pixels[edge].astype(np.float32), axis=0)


def thing_colour(pixels: np.ndarray, placed: Placed, background: np.ndarray) -> np.ndarray:
    """The median colour of the foreground at a thing's position, or gray if there is none."""
    inside = pixels[_box(placed, 0.6)].reshape(-1, 3).astype(np.float32)
    foreground = inside[np.linalg.norm(inside - background, axis=-1) > MIN_COLOUR_DISTANCE]
    return np.median(foreground, axis=0) if len(foreground) else np.full(3, 128.0)


def is_confined(pixels: np.ndarray, layout: Sequence[Placed], background: np.ndarray) -> bool:
    """Whether there is foreground at the position of each thing, and almost none anywhere else."""
    foreground = np.linalg.norm(pixels.astype(np.float32) - background, axis=-1) > MIN_COLOUR_DISTANCE
    elsewhere = foreground.copy()
    for placed in layout:
        if foreground[_box(placed, 1.0)].mean() < 0.03:
            return False
        elsewhere[_box(placed, 1.3)] = False
    return bool(elsewhere.mean() < 0.02)


def _box(placed: Placed, scale: float) -> tuple[slice, slice]:
    """Rows and columns of the square around a thing."""
    half = placed.height * scale / 2
    x, y = placed.centre
    rows = slice(max(0, round((y - half) * SIZE)), min(SIZE, round((y + half) * SIZE)))
    return rows, slice(max(0, round((x - half) * SIZE)), min(SIZE, round((x + half) * SIZE)))
