"""Cuts an image out by a mask: transparent outside, soft at the edges, without the colours of what was behind."""

import io

import numpy
from PIL import Image, ImageChops, ImageFilter

_OPAQUE = 250
"""Of 255: from this value on, a pixel shows the subject alone."""
_REACH = 0.01
"""Share of the shorter side from which the colours of edges are taken."""
_DARKEST = 8
"""Of 255: with fewer opaque pixels nearby, a colour cannot be told."""


def cut_out(data: bytes, mask: Image.Image) -> Image.Image:
    """RGBA, of the mask's size. What is transparent in the image stays so.

    Args:
        data: the encoded image.
        mask: mode L, 255 inside.
    """
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    alpha = ImageChops.multiply(image.getchannel("A"), mask)
    colours = decontaminate(image.convert("RGB"), alpha)
    colours.putalpha(alpha)
    return colours


def decontaminate(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """The image with the colours of the opaque pixels nearby where it is half transparent; black where it is clear."""
    opaque = alpha.point([255 * (value >= _OPAQUE) for value in range(256)])
    blur = ImageFilter.GaussianBlur(max(1.0, _REACH * min(image.size)))
    weight = opaque.filter(blur)
    black = Image.new("RGB", image.size)
    spread = Image.composite(image, black, opaque).filter(blur)
    nearby = Image.merge("RGB", [_divide(channel, weight) for channel in spread.split()])
    can_tell = weight.point([255 * (value >= _DARKEST) for value in range(256)])
    edges = Image.composite(nearby, image, can_tell)
    visible = alpha.point([255 * (value > 0) for value in range(256)])
    return Image.composite(Image.composite(image, edges, opaque), black, visible)


def _divide(channel: Image.Image, weight: Image.Image) -> Image.Image:
    """The mean of the weighted pixels: `channel` / `weight`, both blurred."""
    pixels = numpy.asarray(channel).astype(numpy.float32) * 255
    divided = pixels / numpy.maximum(numpy.asarray(weight), 1)
    return Image.fromarray(divided.round().clip(0, 255).astype(numpy.uint8))
