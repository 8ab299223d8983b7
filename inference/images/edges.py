"""Canny's edge detection with numpy, step by step as OpenCV computes it: ControlNets were trained on such maps.

Sobel gradients of the strongest channel, L1 magnitudes, non-maximum suppression in four directions, and hysteresis
between two thresholds. The image is not blurred first.
"""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_TAN_22, _SHIFT = 13573, 15
"""The tangent of 22.5 degrees, times 2 to the power of `_SHIFT`. Source: OpenCV, modules/imgproc/src/canny.cpp."""


def find_edges(pixels: NDArray[np.uint8], low: int, high: int) -> Mask:
    """Edges of 8-bit pixels, (height, width, channels): all above `high`, and those above `low` that touch one."""
    across, down = _strongest_gradients(pixels)
    magnitude = np.abs(across) + np.abs(down)
    ridge = _is_ridge(across, down, magnitude)
    return join_weak_edges(ridge & (magnitude > low), ridge & (magnitude > high))


def _strongest_gradients(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sobel gradients to the right and downwards, of the channel where their magnitude is greatest."""
    across, down = _sobel(pixels[..., 0])
    for channel in range(1, pixels.shape[2]):
        other_across, other_down = _sobel(pixels[..., channel])
        is_stronger = np.abs(other_across) + np.abs(other_down) > np.abs(across) + np.abs(down)
        np.copyto(across, other_across, where=is_stronger)
        np.copyto(down, other_down, where=is_stronger)
    return across.astype(np.int32), down.astype(np.int32)


def _sobel(plane: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    padded = np.pad(plane, 1, mode="edge").astype(np.int16)
    smooth_rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return smooth_rows[:, 2:] - smooth_rows[:, :-2], smooth_columns[2:] - smooth_columns[:-2]


def _is_ridge(across: NDArray[np.int32], down: NDArray[np.int32], magnitude: NDArray[np.int32]) -> Mask:
    """Where the magnitude is the greatest along the gradient's direction; outside the image it is 0."""
    around = np.pad(magnitude, 1)
    height, width = magnitude.shape

    def neighbour(row: int, column: int) -> NDArray[np.int32]:
        return around[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    steepness = np.abs(down) << _SHIFT
    flat = np.abs(across) * _TAN_22
    is_flat, is_steep = steepness < flat, steepness > flat + (np.abs(across) << (_SHIFT + 1))
    falls = (across ^ down) < 0
    beside = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    above = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    falling = (magnitude > neighbour(-1, 1)) & (magnitude > neighbour(1, -1))
    rising = (magnitude > neighbour(-1, -1)) & (magnitude > neighbour(1, 1))
    return np.where(is_flat, beside, np.where(is_steep, above, np.where(falls, falling, rising)))


def join_weak_edges(weak: Mask, strong: Mask) -> Mask:
    """The weak pixels whose connected component, with diagonals, contains a strong one."""
    labels = label_components(weak)
    keeps = np.zeros(labels.max(initial=0) + 1, dtype=np.bool_)
    keeps[labels[strong]] = True
    keeps[0] = False
    return keeps[labels]


def label_components(mask: Mask) -> NDArray[np.int64]:
    """A number above 0 for each connected component, with diagonals; 0 elsewhere.

    Each round joins the trees of neighbours and halves their depth, so that a long spiral takes few rounds too.
    """
    height, width = mask.shape
    numbers = np.zeros((height + 1, width + 2), dtype=np.int64)
    inner = numbers[:height, 1:-1]
    inner[mask] = np.arange(1, np.count_nonzero(mask) + 1)
    pairs = []
    for row, column in ((0, 1), (1, -1), (1, 0), (1, 1)):
        other = numbers[row : row + height, 1 + column : 1 + column + width]
        is_joined = (inner > 0) & (other > 0)
        pairs.append((inner[is_joined], other[is_joined]))
    ones, others = (np.concatenate(side) for side in zip(*pairs, strict=True))
    parents = _join_pairs(np.arange(int(inner.max(initial=0)) + 1), ones, others)
    labels: NDArray[np.int64] = parents[inner]
    return labels


def _join_pairs(parents: NDArray[np.int64], ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest number in the component of each, by hooking and shortcutting (Shiloach and Vishkin, 1982)."""
    while ones.size:
        first, second = parents[ones], parents[others]
        np.minimum.at(parents, first, second)
        np.minimum.at(parents, second, first)
        while not np.array_equal(grandparents := parents[parents], parents):
            parents = grandparents
        is_open = parents[ones] != parents[others]
        ones, others = ones[is_open], others[is_open]
    return parents
