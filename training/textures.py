"""Textured grounds for scenes: patterns of two colours, some of them held out from training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from training.world import SIZE

Pattern = Callable[[np.random.Generator], np.ndarray]
"""Makes the share of the second colour at each pixel: shape (size, size), float32 in [0, 1]."""
PIXEL_NOISE = 6.0
"""The strongest grain over a ground, as the standard deviation of its levels."""
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE


def _rotated_axis(rng: np.random.Generator) -> np.ndarray:
    """Distances along a random direction, in sides of the image."""
    angle = rng.uniform(0, np.pi)
    return np.cos(angle) * _COLUMNS + np.sin(angle) * _ROWS


def _soft_step(values: np.ndarray, sharpness: float = 12.0) -> np.ndarray:
    return 1 / (1 + np.exp(-sharpness * values))


def _gradient(rng: np.random.Generator) -> np.ndarray:
    axis = _rotated_axis(rng)
    return (axis - axis.min()) / np.ptp(axis)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    waves = np.sin(2 * np.pi * rng.uniform(3, 12) * _rotated_axis(rng) + rng.uniform(0, 6))
    return _soft_step(waves - rng.uniform(-0.5, 0.5))


def _checks(rng: np.random.Generator) -> np.ndarray:
    count = 2 * np.pi * rng.uniform(2, 7)
    phases = rng.uniform(0, 6, 2)
    return _soft_step(3 * np.sin(count * _COLUMNS + phases[0]) * np.sin(count * _ROWS + phases[1]))


def _dots(rng: np.random.Generator) -> np.ndarray:
    count, radius = rng.uniform(4, 10), rng.uniform(0.15, 0.4)
    x, y = (count * _COLUMNS) % 1 - 0.5, (count * _ROWS) % 1 - 0.5
    return _soft_step(radius - np.hypot(x, y), 30.0)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    total = np.sum([_stretched_noise(rng, cells, cells) / cells for cells in (4, 8, 16, 32)], axis=0)
    return (total - total.min()) / np.ptp(total)


def _grain(rng: np.random.Generator) -> np.ndarray:
    """Streaks in one direction, as in wood or cloth."""
    long, short = int(rng.integers(2, 5)), int(rng.integers(16, 64))
    streaks = _stretched_noise(rng, long, short)
    return np.ascontiguousarray(streaks.T) if rng.random() < 0.5 else streaks


def _blocks(rng: np.random.Generator) -> np.ndarray:
    cells = int(rng.integers(4, 12))
    large = Image.fromarray(rng.random((cells, cells), dtype=np.float32)).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return np.asarray(large)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    rows, joint = rng.uniform(5, 9), rng.uniform(0.08, 0.16)
    down = rows * _ROWS
    across = rows / 2 * _COLUMNS + 0.5 * (np.floor(down) % 2)
    is_joint = (down % 1 < joint) | (across % 1 < joint / 2)
    return is_joint.astype(np.float32)


def _rings(rng: np.random.Generator) -> np.ndarray:
    x, y = rng.uniform(0, 1, 2)
    return _soft_step(np.sin(2 * np.pi * rng.uniform(4, 10) * np.hypot(_COLUMNS - x, _ROWS - y)), 6.0)


def _waves(rng: np.random.Generator) -> np.ndarray:
    bent = _rotated_axis(rng) + 0.05 * np.sin(2 * np.pi * rng.uniform(2, 5) * _COLUMNS)
    return 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 10) * bent)


def _stretched_noise(rng: np.random.Generator, columns: int, rows: int) -> np.ndarray:
    """Smooth noise of a number of cells across and down."""
    cells = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
    return np.asarray(cells.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).clip(0, 1)


TEXTURES: dict[str, Pattern] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "clouds": _clouds,
    "grain": _grain,
    "blocks": _blocks,
    "bricks": _bricks,
    "rings": _rings,
    "waves": _waves,
}
HELD_OUT_TEXTURES = ("bricks", "rings", "waves")
"""Never used in training."""
TRAINING_TEXTURES = tuple(name for name in TEXTURES if name not in HELD_OUT_TEXTURES)


def draw_texture(name: str, first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ground of two colours, in [0, 255]: shape (size, size, 3), float32."""
    share = TEXTURES[name](rng).astype(np.float32)[..., None]
    ground = first + share * (second - first)
    ground += rng.uniform(0, PIXEL_NOISE) * rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32)
    return ground.clip(0, 255).astype(np.float32)
