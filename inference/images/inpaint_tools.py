"""Masks for repainting: grown around a thing, feathered inside their edges, and one for each of several things.

Masks are of mode L; 255 is repainted, 0 kept.
"""


import numpy
from PIL import Image, ImageChops, ImageFilter, ImageOps

REPAINTED = 128
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
    """The mask with a soft edge of so many pixels inside; where it is too thin for that, as it is."""
    if pixels < 1:
        return mask
    inner = shrink_mask(mask, pixels)
    soft = ImageChops.darker(mask, inner.filter(ImageFilter.GaussianBlur(pixels / 2)))
    return Image.composite(soft, mask, grow_mask(inner, pixels))


def follows_outline(mask: Image.Image, picture: Image.Image) -> bool:
    """Whether the mask's edge is that of something in the picture: then what is inside is no part of what is outside.

    A soft edge would show what was there before.
    """
    inside = numpy.asarray(mask) >= REPAINTED
    pixels = numpy.asarray(picture, numpy.int16)
    steps = [abs(numpy.diff(pixels, axis=axis)).mean(axis=2)[numpy.diff(inside, axis=axis)] for axis in (0, 1)]
    differences = numpy.concatenate(steps)
    return bool(len(differences) and differences.mean() > _SAME_SURFACE)
