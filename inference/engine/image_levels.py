"""How far two images differ."""

import numpy


def largest_difference(one: numpy.ndarray, other: numpy.ndarray) -> int:
    """Of any value of two 8-bit images, in levels; 255 if their shapes differ."""
    if one.shape != other.shape:
        return 255
    return int(numpy.abs(one.astype(numpy.int16) - other.astype(numpy.int16)).max())
