"""Puts a picture on a larger canvas, with the mask of what is to be painted around it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from PIL import Image

from bot.commands.canvas import Canvas, plan_canvas
from inference.images.flatten import flatten

BLEND_SHARE, MIN_BLEND = 0.08, 2
"""Width of the band inside the picture that blends with what is painted: of its shorter side, and pixels at least."""


def extend_canvas(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The canvas, RGB, with the picture's edges continued, and the mask, L: white is painted.

    `values`: the command and its options.
    """
    picture = flatten(images[0])
    canvas = plan_canvas(str(values["command"]), values, picture.size)
    if picture.size != canvas.picture:
        picture = picture.resize(canvas.picture, Image.Resampling.LANCZOS)
    around = _margins(canvas)
    extended = numpy.pad(numpy.asarray(picture), (*around, (0, 0)), mode="edge")
    return [Image.fromarray(extended), Image.fromarray(_draw_mask(canvas, around))]


def _margins(canvas: Canvas) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels above and below, and left and right of the picture."""
    width, height = canvas.picture
    return (canvas.top, canvas.height - canvas.top - height), (canvas.left, canvas.width - canvas.left - width)


def _draw_mask(canvas: Canvas, around: tuple[tuple[int, int], tuple[int, int]]) -> numpy.ndarray:
    """White outside the picture, falling to black over the band inside each side that is extended."""
    width, height = canvas.picture
    band = max(MIN_BLEND, round(BLEND_SHARE * min(width, height)))
    rows, columns = (_distances(side, margins) for side, margins in ((height, around[0]), (width, around[1])))
    distance = numpy.minimum(rows[:, None], columns[None, :])
    inside = numpy.clip(255 * (1 - (distance + 0.5) / band), 0, 255).round().astype(numpy.uint8)
    return numpy.pad(inside, around, constant_values=255)


def _distances(side: int, margins: tuple[int, int]) -> numpy.ndarray:
    """Of each pixel of a side from the ends that are extended, (side,)."""
    places = numpy.arange(side, dtype=float)
    before, after = margins
    distances = [places] * bool(before) + [places[::-1]] * bool(after)
    return numpy.min(distances, axis=0) if distances else numpy.full(side, numpy.inf)
