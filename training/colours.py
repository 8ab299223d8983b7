"""The twelve named colours."""

from __future__ import annotations

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 215, 50),
    "orange": (245, 140, 30),
    "purple": (130, 50, 180),
    "pink": (250, 150, 190),
    "black": (15, 15, 15),
    "white": (255, 255, 255),
    "gray": (130, 130, 130),
    "brown": (120, 75, 40),
    "cyan": (60, 210, 220),
}


def colour_rgb(colour: str) -> np.ndarray:
    """A named colour: shape (3,), float32 in [0, 255]."""
    return np.array(COLOURS[colour], dtype=np.float32)
