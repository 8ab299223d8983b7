"""Fits pictures and masks to a size, in the ways that AUTOMATIC1111 does. Masks: 255 is repainted, 0 kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from PIL import Image, ImageFilter, ImageOps

from inference.images.flatten import flatten
from inference.images.mask_reading import mask_channel

_FILTER = Image.Resampling.LANCZOS


def fit_picture_to_size(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """`values`: see `_fit`."""
    return [_fit(flatten(images[0]), values)]


def adjust_mask(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """A mask, blurred and fitted. `values`: `invert`; `blur`, the radius in pixels of the mask; those of `_fit`."""
    mask = mask_channel(images[0])
    if values.get("invert"):
        mask = ImageOps.invert(mask)
    if values.get("blur"):
        mask = mask.filter(ImageFilter.GaussianBlur(float(values["blur"])))
    return [_fit(mask, values)]


def _fit(image: Image.Image, values: Mapping[str, Any]) -> Image.Image:
    """`width`, `height`: the size; without them, the image stays. `fit`: "stretch", "crop" (it covers the size), "fill"
    (all of it is there, and its edges go on), "inside" (as large as fits) or "shrink" (the same, but never larger)."""
    if not values.get("width"):
        return image
    size = (int(values["width"]), int(values["height"]))
    match values.get("fit"):
        case "crop":
            return ImageOps.fit(image, size, _FILTER)
        case "fill":
            return _fill(image, size)
        case "inside":
            return ImageOps.contain(image, size, _FILTER)
        case "shrink":
            is_larger = image.width > size[0] or image.height > size[1]
            return ImageOps.contain(image, size, _FILTER) if is_larger else image
    return image.resize(size, _FILTER)


def _fill(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    inner = ImageOps.contain(image, size, _FILTER)
    left, top = (size[0] - inner.width) // 2, (size[1] - inner.height) // 2
    around = ((top, size[1] - inner.height - top), (left, size[0] - inner.width - left))
    pixels = numpy.asarray(inner)
    return Image.fromarray(numpy.pad(pixels, (*around, *[(0, 0)] * (pixels.ndim - 2)), mode="edge"))
