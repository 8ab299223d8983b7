"""Draws batches of centred scenes fast enough to train on: masks once, colours per picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.world import COLOURS, SHAPES, SIZE, Combination, draw_mask, for_training

HEIGHTS = tuple(range(78, 115))
"""Heights of shapes drawn for training, in pixels: 61 % to 89 % of the picture."""


@dataclass(frozen=True)
class Batch:
    """Pictures and what they show.

    Attributes:
        pictures: shape (n, 3, 128, 128), float32 in [-1, 1].
        shapes, colours, backgrounds: shape (n,), indices into `SHAPES` and `COLOURS`.
        heights: shape (n,), indices into `HEIGHTS`.
    """

    pictures: Tensor
    shapes: np.ndarray
    colours: np.ndarray
    backgrounds: np.ndarray
    heights: np.ndarray

    def combinations(self) -> list[Combination]:
        """What each picture shows, by name."""
        names = list(COLOURS)
        triples = zip(self.shapes, self.colours, self.backgrounds, strict=True)
        return [Combination(SHAPES[s], names[c], names[b]) for s, c, b in triples]


class Scenes:
    """Every centred shape at every height, drawn once; batches are painted from them."""

    def __init__(self) -> None:
        drawn = [[draw_mask(shape, h / SIZE) for h in HEIGHTS] for shape in SHAPES]
        self.masks = torch.from_numpy(np.array(drawn)).float() / 255
        self.palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 127.5 - 1
        self.training = for_training()
        self.allowed = index_combinations(self.training)

    def batch(self, rng: np.random.Generator, count: int, jitter: float = 0.0) -> Batch:
        """Draw scenes among the training combinations.

        Args:
            jitter: standard deviation of the colours' displacement, in [-1, 1] units.
        """
        chosen = self.allowed[rng.integers(len(self.allowed), size=count)]
        heights = random_heights(rng, count)
        return self.paint(chosen, heights, jitter)

    def paint(self, chosen: np.ndarray, heights: np.ndarray, jitter: float = 0.0) -> Batch:
        """Paint combinations, shape (n, 3) of indices, at heights, shape (n,) of indices."""
        shapes, colours, backgrounds = chosen.T
        cover = self.masks[shapes, heights][:, None]
        front, back = self.palette[colours], self.palette[backgrounds]
        front = (front + jitter * torch.randn_like(front)).clamp(-1, 1)[:, :, None, None]
        back = (back + jitter * torch.randn_like(back)).clamp(-1, 1)[:, :, None, None]
        return Batch(torch.lerp(back, front, cover), shapes, colours, backgrounds, heights)


def index_combinations(combinations: list[Combination]) -> np.ndarray:
    """Combinations as indices into `SHAPES`, `COLOURS` and `COLOURS`: shape (n, 3)."""
    names = list(COLOURS)
    rows = [(SHAPES.index(c.shape), names.index(c.colour), names.index(c.background)) for c in combinations]
    return np.array(rows)


def random_heights(rng: np.random.Generator, count: int) -> np.ndarray:
    """Indices into `HEIGHTS`, mostly near the middle (75 %)."""
    middle = (len(HEIGHTS) - 1) / 2
    return np.rint(rng.triangular(0, middle, 2 * middle, size=count)).astype(int)
