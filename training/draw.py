"""Renders scenes: sprites blended over a flat background, fast enough for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from training.artwork import render_sprite
from training.colours import colour_rgb
from training.shapes import draw_mask, outline
from training.world import SIZE, Placed, Scene, Thing

HEIGHT_JITTER = {0.75: (0.70, 0.75, 0.80)}
"""Heights used in training instead of one, so edges are never at an exact position."""


def render_scene(scene: Scene, size: int = SIZE) -> np.ndarray:
    """Render a scene: RGB, shape (size, size, 3), uint8."""
    return compose_image(scene.layout(), colour_rgb(scene.background), size)


def compose_image(layout: Sequence[Placed], background: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Blend things over a background colour, in [0, 255], shape (3,)."""
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = background
    for placed in layout:
        pixels, alpha = rasterize_thing(placed.thing, max(2, round(placed.height * size)))
        _blend(canvas, pixels, alpha, placed.centre)
    return (canvas + 0.5).astype(np.uint8)


Layer = tuple[np.ndarray, np.ndarray, tuple[float, float]]
"""A rasterized thing, its colours and alpha, and its centre as shares of the image's side."""


def blend_layers(layers: Sequence[Layer], ground: np.ndarray, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Blend rasterized things over a ground; each one covers those before it.

    Args:
        ground: a colour, shape (3,), or an image, shape (size, size, 3), in [0, 255].

    Returns:
        The image, RGB, shape (size, size, 3), uint8, and how much of each pixel each thing is: shape (n, size, size),
        float32 in [0, 1].
    """
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = ground
    masks = np.zeros((len(layers), size, size, 1), dtype=np.float32)
    for number, (pixels, alpha, centre) in enumerate(layers):
        _blend(canvas, pixels, alpha, centre)
        _blend(masks[number], np.ones_like(alpha), alpha, centre)
        masks[:number] *= 1 - masks[number]
    return (canvas + 0.5).astype(np.uint8), masks[..., 0]


def rasterize_layout(layout: Sequence[Placed], size: int = SIZE) -> list[Layer]:
    """Each thing at its height."""
    return [(*rasterize_thing(p.thing, max(2, round(p.height * size))), p.centre) for p in layout]


def jitter_heights(scene: Scene, rng: np.random.Generator) -> tuple[Placed, ...]:
    """The layout with heights sampled from `HEIGHT_JITTER`."""
    return tuple(
        replace(placed, height=float(rng.choice(HEIGHT_JITTER.get(placed.height, (placed.height,)))))
        for placed in scene.layout()
    )


def images_to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 images as one tensor: shape (n, 3, height, width), float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _blend(canvas: np.ndarray, pixels: np.ndarray, alpha: np.ndarray, centre: tuple[float, float]) -> None:
    """Blend a rasterized thing into the canvas around a centre; parts outside are cropped."""
    height, width = alpha.shape[:2]
    size = canvas.shape[0]
    left, top = round(centre[0] * size - width / 2), round(centre[1] * size - height / 2)
    x, y = max(0, left), max(0, top)
    right, bottom = min(size, left + width), min(size, top + height)
    part = np.s_[y - top : bottom - top, x - left : right - left]
    region = canvas[y:bottom, x:right]
    region += alpha[part] * (pixels[part] - region)


@lru_cache(maxsize=30_000)
def rasterize_thing(thing: Thing, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours, shape (h, w, 3), float32 in [0, 255], and alpha, shape (h, w, 1), in [0, 1]."""
    if not thing.colour:
        sprite = render_sprite(thing.name, side)
        return sprite[..., :3].astype(np.float32), sprite[..., 3:].astype(np.float32) / 255
    alpha = shape_coverage(thing.name, side)
    return np.broadcast_to(colour_rgb(thing.colour), (*alpha.shape[:2], 3)), alpha


@lru_cache(maxsize=4_000)
def shape_coverage(shape: str, side: int) -> np.ndarray:
    """Pixel coverage of a shape that is `side` pixels high: shape (h, w, 1), float32 in [0, 1]."""
    size = 2 * (side // 2 + 4) + side % 2
    aspect = max(1.0, float(np.ptp(outline(shape)[:, 0])))
    size += 2 * int(np.ceil((aspect - 1) * side / 2))
    mask = draw_mask(shape, side / size, size=size)
    return mask[..., None].astype(np.float32) / 255
