"""Cuts the parts of a picture out that a model refines or describes one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from inference.images.flatten import flatten


def crop_boxes(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """The boxes (left, top, right, bottom) of the first image, each in pixels of an image of `size`, its shape enlarged
    or reduced. What a box has beyond the image is left out."""
    picture = flatten(images[0])
    across, down = (own / whole for own, whole in zip(picture.size, values["size"], strict=True))
    crops = []
    for left, top, right, bottom in values["boxes"]:
        start = min(int(left * across), picture.width - 1), min(int(top * down), picture.height - 1)
        stop = min(round(right * across), picture.width), min(round(bottom * down), picture.height)
        crops.append(picture.crop((*start, max(start[0] + 1, stop[0]), max(start[1] + 1, stop[1]))))
    return crops
