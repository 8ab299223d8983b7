"""Draws scenes: sprites laid over a flat background, quickly enough to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from training.artwork import sprite
from training.colours import rgb
from training.shapes import draw_mask, outline
from training.world import SIZE, Placed, Scene, Thing

JITTER = {0.75: (0.70, 0.75, 0.80)}
"""Heights seen in training instead of one, so that no edge is ever quite certain."""


def render(scene: Scene, size: int = SIZE) -> np.ndarray:
    """Draw a scene: RGB, shape (size, size, 3), uint8."""
    return compose(scene.layout(), rgb(scene.background), size)


def compose(layout: Sequence[Placed], background: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Lay things over a background, in [0, 255], shape (3,)."""
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = background
    for placed in layout:
        pixels, cover = _stamp(placed.thing, max(2, round(placed.height * size)))
        _lay(canvas, pixels, cover, placed.centre)
    return (canvas + 0.5).astype(np.uint8)


def vary(scene: Scene, rng: np.random.Generator) -> tuple[Placed, ...]:
    """The layout with heights as they vary in training."""
    return tuple(
        replace(placed, height=float(rng.choice(JITTER.get(placed.height, (placed.height,)))))
        for placed in scene.layout()
    )


def to_tensor(pictures: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 pictures as one tensor: shape (n, 3, height, width), float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _lay(canvas: np.ndarray, pixels: np.ndarray, cover: np.ndarray, centre: tuple[float, float]) -> None:
    """Blend a stamp into the canvas around a centre; what sticks out is cut off."""
    height, width = cover.shape[:2]
    size = canvas.shape[0]
    left, top = round(centre[0] * size - width / 2), round(centre[1] * size - height / 2)
    x, y = max(0, left), max(0, top)
    right, bottom = min(size, left + width), min(size, top + height)
    part = np.s_[y - top : bottom - top, x - left : right - left]
    seen = canvas[y:bottom, x:right]
    seen += cover[part] * (pixels[part] - seen)


@lru_cache(maxsize=30_000)
def _stamp(thing: Thing, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours, shape (h, w, 3), float32 in [0, 255], and how much they cover, shape (h, w, 1), in [0, 1]."""
    if not thing.colour:
        drawn = sprite(thing.name, side)
        return drawn[..., :3].astype(np.float32), drawn[..., 3:].astype(np.float32) / 255
    cover = shape_cover(thing.name, side)
    return np.broadcast_to(rgb(thing.colour), (*cover.shape[:2], 3)), cover


@lru_cache(maxsize=4_000)
def shape_cover(shape: str, side: int) -> np.ndarray:
    """How much of each pixel a shape covers that is `side` pixels high: shape (h, w, 1), float32 in [0, 1]."""
    around = 2 * (side // 2 + 4) + side % 2
    wide = max(1.0, float(np.ptp(outline(shape)[:, 0])))
    around += 2 * int(np.ceil((wide - 1) * side / 2))
    mask = draw_mask(shape, side / around, size=around)
    return mask[..., None].astype(np.float32) / 255
