"""Boxes for ViTPose, the pixels of a box, and the joints that its heatmaps show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.pose.skeleton import MIN_CONFIDENCE, Joints

_PADDING = 1.25
"""How much larger than a person the model's input is. Source: ViTPose."""


@dataclass(frozen=True)
class Box:
    """Left, top, width and height in pixels; it may reach beyond the image."""

    left: float
    top: float
    width: float
    height: float

    def padded(self, size: tuple[int, int]) -> "Box":
        """The box around it that the model reads: wider or higher to the shape of this size, then padded."""
        aspect = size[0] / size[1]
        width, height = max(self.width, self.height * aspect), max(self.height, self.width / aspect)
        return self.around(width * _PADDING, height * _PADDING)

    def around(self, width: float, height: float) -> "Box":
        """A box of this size with the same center."""
        return Box(self.left + (self.width - width) / 2, self.top + (self.height - height) / 2, width, height)


def whole_image(size: tuple[int, int]) -> Box:
    return Box(0, 0, *size)


def box_of(joints: Joints, limit: Box, margin: float) -> Box:
    """The box of the joints that are certain, with a margin in pixels, within the limit; that, if there are too few."""
    certain = joints[joints[:, 2] >= MIN_CONFIDENCE, :2]
    if len(certain) < 3:
        return limit
    left, top = np.maximum(certain.min(axis=0) - margin, (limit.left, limit.top))
    ends = (limit.left + limit.width, limit.top + limit.height)
    right, bottom = np.minimum(certain.max(axis=0) + margin, ends)
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def read_box(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """The pixels of a box at this width and height; black outside the image."""
    across, down = box.width / size[0], box.height / size[1]
    matrix = (across, 0, box.left, 0, down, box.top)
    return image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def find_joints(heatmaps: NDArray[np.float32], box: Box) -> Joints:
    """The maximum of each heatmap, (joints, height, width), moved a quarter pixel towards its greater neighbour."""
    count, height, width = heatmaps.shape
    rows, columns = np.divmod(heatmaps.reshape(count, -1).argmax(axis=1), width)
    padded = np.pad(heatmaps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    each = np.arange(count)
    x = columns + 0.25 * np.sign(padded[each, rows + 1, columns + 2] - padded[each, rows + 1, columns])
    y = rows + 0.25 * np.sign(padded[each, rows + 2, columns + 1] - padded[each, rows, columns + 1])
    left = box.left + (x + 0.5) * box.width / width
    top = box.top + (y + 0.5) * box.height / height
    return np.stack([left, top, heatmaps[each, rows, columns]], axis=1).astype(np.float32)
