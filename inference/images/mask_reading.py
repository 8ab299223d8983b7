"""What a mask file means.

A mask without transparency is read by its lightness: white is repainted, black is kept, and grey blends the two. A mask
with transparency is one of three things, told apart by its visible colours:

- Strokes of one or a few flat colours on a clear canvas: what is drawn is repainted, whatever its colour.
- Black and white with clear parts: white is repainted; black and clear parts are kept.
- A picture with holes, in many colours: the holes are repainted.
"""

import io

import numpy
from PIL import Image, ImageOps

REPAINTED = 128
"""Of 255: from this value on, a pixel counts as repainted."""
_FLAT_SHARE, _MAX_FLAT_COLOURS = 0.95, 8
"""Strokes: so many colours, of 3 bits each channel, make up at least this share of what is visible."""
_TWO_TONE_SHARE = 0.01
"""Black and white: each makes up at least this share of what is visible."""


def read_mask(data: bytes) -> Image.Image:
    """The mask in its own size and mode L; 255 is repainted, 0 kept."""
    return mask_channel(Image.open(io.BytesIO(data)))


def mask_channel(image: Image.Image) -> Image.Image:
    """The same of a decoded mask."""
    if not image.has_transparency_data:
        return image.convert("L")
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert("L")
    colours = numpy.asarray(image.convert("RGB"))[numpy.asarray(alpha) >= REPAINTED]
    if _is_black_and_white(colours):
        black = Image.new("L", image.size, 0)
        return Image.composite(image.convert("RGB").convert("L"), black, alpha)
    return alpha if _has_flat_colours(colours) else ImageOps.invert(alpha)


def _is_black_and_white(colours: numpy.ndarray) -> bool:
    """Whether both are visible and nearly all that is; `colours`: (pixels, 3)."""
    if not len(colours):
        return False
    black, white = (colours.max(axis=1) < 64).mean(), (colours.min(axis=1) >= 192).mean()
    return bool(min(black, white) >= _TWO_TONE_SHARE and black + white >= _FLAT_SHARE)


def _has_flat_colours(colours: numpy.ndarray) -> bool:
    """Whether a few colours are nearly all that is visible; also if nothing is."""
    coarse = (colours.astype(numpy.uint32) + 16).clip(max=255) >> 5
    counts = numpy.bincount(coarse[:, 0] * 64 + coarse[:, 1] * 8 + coarse[:, 2], minlength=1)
    largest = numpy.sort(counts)[-_MAX_FLAT_COLOURS:].sum()
    return bool(largest >= _FLAT_SHARE * len(colours))
