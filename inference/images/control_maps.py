"""Maps for ControlNets that need no model: canny, lineart, scribble and tile. Lines are white on black.

A map is made at the size at which it is used, because thin lines do not survive resizing: the picture is first resized
to the size asked for, and cropped if its shape is another, as an input picture is. Blurs, lengths and widths are those
for a picture whose shorter side is 512 px, and grow with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from inference.images.edges import Mask, find_edges, label_components
from inference.images.flatten import flatten

_REFERENCE_SIDE = 512
_CANNY = (100, 200)
"""Thresholds. Source: controlnet_aux, CannyDetector."""
_LINEART_BLUR, _LINEART_CONTOURS, _LINEART_LENGTH = 2.0, (40, 90), 60
_STROKE_BLUR = 3.0
_STROKE_NOISE, _STROKE_MEDIAN, _STROKE_LEVEL = 8, 16, 127
"""The darkness from which on it counts as a stroke, the least median of strokes, and the level that the median becomes.
Source: controlnet_aux, LineartStandardDetector."""
_SCRIBBLE_BLUR, _SCRIBBLE_CONTOURS, _SCRIBBLE_LENGTH = 3.0, (30, 70), 40
_SCRIBBLE_WIDTH, _SCRIBBLE_THRESHOLD = 2.5, 30
_TILE_REDUCTION = 2


def draw_canny(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """Edges by Canny, with the thresholds of ControlNet's annotator."""
    return [_to_picture(_white(find_edges(_pixels_of(fit_picture(images[0], values)), *_CANNY)))]


def draw_lineart(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """Drawn strokes, as dark as they are, and the contours between colours, without those of textures."""
    picture = fit_picture(images[0], values)
    contours = _find_contours(picture, _LINEART_BLUR, _LINEART_CONTOURS, _LINEART_LENGTH)
    lines = Image.fromarray(_white(contours)).filter(ImageFilter.GaussianBlur(0.7 * _scale(picture)))
    pixels = np.asarray(lines).astype(np.float32)
    softened = (pixels * (1.3 * 255 / max(1.0, float(pixels.max())))).clip(0, 255)
    return [_to_picture(np.maximum(softened, _measure_strokes(picture)).astype(np.uint8))]


def draw_scribble(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The long contours of the softened picture, as thick lines."""
    picture = fit_picture(images[0], values)
    contours = _find_contours(picture, _SCRIBBLE_BLUR, _SCRIBBLE_CONTOURS, _SCRIBBLE_LENGTH)
    width = ImageFilter.GaussianBlur(max(1.0, _SCRIBBLE_WIDTH * _scale(picture)))
    return [_to_picture(_white(np.asarray(Image.fromarray(_white(contours)).filter(width)) > _SCRIBBLE_THRESHOLD))]


def soften_tile(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The picture itself without its finest details, which the model makes anew."""
    picture = fit_picture(images[0], values)
    return [picture.reduce(_TILE_REDUCTION).resize(picture.size, Image.Resampling.BICUBIC)]


def fit_control(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The picture that a model makes a map of."""
    return [fit_picture(images[0], values)]


def fit_picture(image: Image.Image, values: Mapping[str, Any]) -> Image.Image:
    """The picture on white; if `width` and `height` are given, it covers this size, centred."""
    picture = flatten(image)
    size = (int(values.get("width", picture.width)), int(values.get("height", picture.height)))
    return picture if picture.size == size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def _find_contours(picture: Image.Image, blur: float, thresholds: tuple[int, int], length: float) -> Mask:
    """Edges of the blurred picture, of at least so many pixels."""
    scale = _scale(picture)
    edges = find_edges(_pixels_of(picture.filter(ImageFilter.GaussianBlur(blur * scale))), *thresholds)
    labels = label_components(edges)
    is_long = np.bincount(labels.ravel()) >= length * scale
    is_long[0] = False
    return is_long[labels]


def _measure_strokes(picture: Image.Image) -> NDArray[np.float32]:
    """By how much each pixel is darker, in all channels, than those around it, scaled so that strokes are grey."""
    around = _pixels_of(picture.filter(ImageFilter.GaussianBlur(_STROKE_BLUR * _scale(picture)))).astype(np.float32)
    darkness = (around - _pixels_of(picture)).min(axis=2).clip(0)
    strokes = np.sort(darkness[darkness > _STROKE_NOISE])
    median = max(_STROKE_MEDIAN, float(strokes[strokes.size // 2]) if strokes.size else 0.0)
    return (darkness * (_STROKE_LEVEL / median)).clip(0, 255)


def _scale(picture: Image.Image) -> float:
    return max(0.35, min(picture.size) / _REFERENCE_SIDE)


def _pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture)


def _white(mask: Mask) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * 255


def _to_picture(levels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(levels).convert("RGB")
