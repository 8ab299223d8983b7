"""Draws poses as OpenPose does: colored limbs and joints on black, which pose ControlNets were trained on.

Source: the joints, limbs and colors of OpenPose's body model with 18 joints, as drawn by ControlNet's annotator.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Joints = NDArray[np.float32]
"""(joints, 3): x and y in pixels, and the confidence, 0 to 1."""

_NECK = 1
_COCO_LEFT_SHOULDER, _COCO_RIGHT_SHOULDER = 5, 6
_FROM_COCO = (0, 0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""For each of OpenPose's joints, COCO's; the neck, which COCO lacks, is replaced."""
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
_COLORS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0)),
    *((0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255)),
    *((170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
_LIMB_BRIGHTNESS = 0.6
_WIDTH, _WIDTH_SIDE = 4.0, 512
"""Half the width of a limb and the radius of a joint, at this shorter side."""
MIN_CONFIDENCE = 0.3
"""Joints with less are not drawn: they are hidden or outside the image."""


def openpose_joints(coco: Joints) -> Joints:
    """COCO's 17 joints as OpenPose's 18: its order, and a neck between the shoulders."""
    joints = coco[list(_FROM_COCO)].copy()
    shoulders = coco[[_COCO_LEFT_SHOULDER, _COCO_RIGHT_SHOULDER]]
    joints[_NECK] = (*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min())
    return joints


def draw_poses(people: Sequence[Joints], size: tuple[int, int]) -> Image.Image:
    """OpenPose's joints of each person on a black image of this width and height."""
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    width = max(1.0, _WIDTH * min(size) / _WIDTH_SIDE)
    for joints in people:
        for (first, second), color in zip(_LIMBS, _COLORS, strict=False):
            if min(joints[first, 2], joints[second, 2]) >= MIN_CONFIDENCE:
                dark = tuple(int(level * _LIMB_BRIGHTNESS) for level in color)
                draw.polygon(_limb_outline(joints[first, :2], joints[second, :2], width), fill=dark)
    for joints in people:
        for (x, y, confidence), color in zip(joints.tolist(), _COLORS, strict=True):
            if confidence >= MIN_CONFIDENCE:
                draw.ellipse((x - width, y - width, x + width, y + width), fill=color)
    return image


def _limb_outline(first: NDArray[np.float32], second: NDArray[np.float32], width: float) -> list[tuple[float, float]]:
    """An ellipse with its long axis from joint to joint."""
    middle, half = (first + second) / 2, (second - first) / 2
    length = max(1e-6, math.hypot(*half))
    across = np.array([-half[1], half[0]]) * (width / length)
    angles = np.linspace(0, 2 * math.pi, 36, endpoint=False)
    outline = middle + np.outer(np.cos(angles), half) + np.outer(np.sin(angles), across)
    return [(float(x), float(y)) for x, y in outline]
