"""Masks for repainting: grown around a thing, feathered inside their edges, and one for each of several things.

Masks are of mode L; 255 is repainted, 0 kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from PIL import Image, ImageChops, ImageFilter, ImageOps

REPAINTED = 128
_BLACK = 8
"""Levels that count as black, and as white from the other end."""
_SAME_SURFACE = 24
"""Mean difference across a mask's edge, in levels, up to which both sides belong to the same thing."""


def grow_mask(mask: Image.Image, pixels: int) -> Image.Image:
    """White within so many pixels of what is repainted, black elsewhere."""
    grown = mask.point(lambda value: 255 * (value >= REPAINTED))
    for radius in ((pixels, 0), (0, pixels)):
        grown = grown.filter(ImageFilter.BoxBlur(radius)).point(lambda value: 255 * (value > 0))
    return grown


def shrink_mask(mask: Image.Image, pixels: int) -> Image.Image:
    """Black within so many pixels of what is kept; edges of the picture do not count."""
    return ImageOps.invert(grow_mask(ImageOps.invert(mask), pixels))


def feather_mask(mask: Image.Image, pixels: int) -> Image.Image:
    """The mask with a soft edge of so many pixels inside; where it is too thin for that, or as soft, as it is."""
    if pixels < 1 or is_soft(mask, pixels):
        return mask
    inner = shrink_mask(mask, pixels)
    soft = ImageChops.darker(mask, inner.filter(ImageFilter.GaussianBlur(pixels / 2)))
    outside = mask.point(lambda value: 255 * (value < REPAINTED))
    near = ImageChops.lighter(grow_mask(inner, pixels), ImageChops.darker(grow_mask(inner, 3 * pixels), outside))
    return Image.composite(soft, mask, near)


def is_soft(mask: Image.Image, pixels: float) -> bool:
    """Whether the mask's edges are grey over so many pixels, on average."""
    levels = numpy.asarray(mask)
    inside = levels >= REPAINTED
    edge = sum(int(numpy.diff(inside, axis=axis).sum()) for axis in (0, 1))
    grey = int(((levels >= _BLACK) & (levels <= 255 - _BLACK)).sum())
    return bool(edge) and grey >= pixels * edge


def follows_outline(mask: Image.Image, picture: Image.Image) -> bool:
    """Whether the mask's edge is that of something in the picture: then what is inside is no part of what is outside.

    A soft edge would show what was there before.
    """
    inside, pixels = numpy.asarray(mask) >= REPAINTED, numpy.asarray(picture)
    steps = []
    for down, right in ((1, 0), (0, 1)):
        rows, columns = numpy.nonzero(numpy.diff(inside, axis=right))
        neighbours = pixels[rows + down, columns + right].astype(numpy.int16)
        steps.append(abs(neighbours - pixels[rows, columns]).mean(axis=1))
    differences = numpy.concatenate(steps)
    return bool(len(differences) and differences.mean() > _SAME_SURFACE)


# ---------------------------------------------------------------- tools

_LABELLED_SIDE = 128
"""Things are told apart at this size of the longer side."""
_LEAST_OF_PICTURE, _LEAST_OF_LARGEST = 0.0005, 0.1
"""What is smaller than either is no thing but noise of the mask."""


def separate_things(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """One mask for each connected part of the first image, the largest first; `count`: the most."""
    mask = images[0].convert("L").point(lambda value: 255 * (value >= REPAINTED))
    scale = min(1, _LABELLED_SIDE / max(mask.size))
    small = mask.resize((max(1, round(mask.width * scale)), max(1, round(mask.height * scale))), Image.Resampling.BOX)
    labels = _label_parts(numpy.asarray(small) > 0)
    sizes = numpy.bincount(labels.ravel())
    sizes[0] = 0
    least = max(_LEAST_OF_PICTURE * labels.size, _LEAST_OF_LARGEST * sizes.max())
    largest = [label for label in numpy.argsort(-sizes, kind="stable") if sizes[label] > least]
    parts = (Image.fromarray((labels == label).astype(numpy.uint8) * 255) for label in largest[: int(values["count"])])
    black = Image.new("L", mask.size, 0)
    return [Image.composite(mask, black, part.resize(mask.size, Image.Resampling.NEAREST)) for part in parts]


def _label_parts(is_marked: numpy.ndarray) -> numpy.ndarray:
    """The same number, from 1, for all marked pixels that are connected, diagonally too; 0 elsewhere."""
    labels = numpy.where(is_marked, numpy.arange(1, is_marked.size + 1).reshape(is_marked.shape), 0)
    while True:
        padded = numpy.pad(labels, 1)
        height, width = labels.shape
        windows = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        spread = numpy.where(is_marked, numpy.maximum.reduce(windows), 0)
        if (spread == labels).all():
            return numpy.unique(labels, return_inverse=True)[1].reshape(labels.shape) + (0 if (~is_marked).any() else 1)
        labels = spread


def replace_pixels(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The second image, which gets the metadata of the first."""
    return [images[1].convert("RGB")]
