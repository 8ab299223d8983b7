"""Shapes the mask of a region for repainting. Runs only in the tools' worker."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from PIL import Image, ImageChops, ImageFilter, ImageOps

from bot.errors import InvalidOption
from inference.images.mask_reading import mask_channel


def shape_mask(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """White is repainted. The first image is the mask of a region, grown and feathered; a second one is a mask that a
    person drew, which is added as it is.

    Args:
        values: `grow` and `feather`, in percent of the shorter side; `keep`: what is masked stays, and all else is
            repainted.
    """
    region = images[0].convert("L")
    drawn = [ImageOps.fit(mask_channel(image), region.size, Image.Resampling.BILINEAR) for image in images[1:]]
    if values.get("keep"):
        return [_soften(ImageOps.invert(_unite([region, *drawn])), values)]
    return [_unite([_soften(region, values), *drawn])]


def invert_mask(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The mask that a person drew, the other way round."""
    return [ImageOps.invert(mask_channel(images[0]))]


def mask_transparency(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """A mask that repaints what is transparent. Raises: InvalidOption: nothing is."""
    alpha = images[0].convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] == 255:
        raise InvalidOption("mask", "mask_opaque")
    return [ImageOps.invert(alpha)]


def _unite(masks: Sequence[Image.Image]) -> Image.Image:
    united = masks[0]
    for mask in masks[1:]:
        united = ImageChops.lighter(united, mask)
    return united


def _soften(mask: Image.Image, values: Mapping[str, Any]) -> Image.Image:
    """Grown, then blurred: within the original edge it stays white."""
    side = min(mask.size) / 100
    grown = Image.fromarray(grow(numpy.asarray(mask), round(side * float(values.get("grow", 0)))))
    return grown.filter(ImageFilter.GaussianBlur(side * float(values.get("feather", 0))))


def grow(mask: numpy.ndarray, radius: int) -> numpy.ndarray:
    """The maximum in a square window of `radius` pixels around each pixel; (height, width).

    The windows double in size, so large ones take hardly longer.
    """
    for axis in (0, 1):
        padding = [(radius, radius) if one == axis else (0, 0) for one in (0, 1)]
        grown, covered, wanted = numpy.pad(mask, padding), 1, 2 * radius + 1
        while covered < wanted:
            shift = min(covered, wanted - covered)
            length = grown.shape[axis] - shift
            first, second = ((slice(None),) * axis + (slice(start, start + length),) for start in (0, shift))
            grown = numpy.maximum(grown[first], grown[second])
            covered += shift
        mask = grown
    return mask
