"""Teaches seeing before speaking: the picture tower and the queries learn shape and colours by name.

Without it the language model answers from how often words go together, and never looks for shapes. Half of
the pictures are in colours that have no name, so that no colour tells a shape.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForConditionalGeneration

from training.looker import WIDTH, look
from training.runs import fast_arithmetic
from training.vision_data import Views, roughen
from training.world import COLOURS, SHAPES, Combination, is_held_out

NEAR = 0.35
"""Colours closer than this, in [-1, 1] units over three channels, are hard to tell apart."""


class Student(nn.Module):
    """The model, and a head for each of shape, its colour and the background, read from the first three queries.

    The heads stay behind when the model is saved.
    """

    def __init__(self, model: Blip2ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList([nn.Linear(WIDTH, len(names)) for names in (SHAPES, COLOURS, COLOURS)])

    def judge(self, seen: Tensor) -> list[Tensor]:
        """Scores of shape (n, 8), (n, 12) and (n, 12) from what the language model is shown, shape (n, 8, 192)."""
        return [head(seen[:, query].float()) for query, head in enumerate(self.heads)]


class SightLoss:
    """What is learned from: pictures and what they show, no words."""

    def __init__(self, student: Student, views: Views, batch: int = 64) -> None:
        self.student, self.views, self.batch = student, views, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        named, shown = self.views.batch(rng, self.batch // 2)
        unnamed, shapes = paint_unnamed(self.views, rng, self.batch - len(named))
        with fast_arithmetic():
            seen = look(self.student.model, torch.cat([named, roughen(unnamed, rng)]))
        truth = labels(shown)
        shape, colour, ground = self.student.judge(seen)
        return (
            F.cross_entropy(shape, torch.cat([truth[0], shapes]))
            + F.cross_entropy(colour[: len(named)], truth[1])
            + F.cross_entropy(ground[: len(named)], truth[2])
        )


def labels(shown: list[Combination]) -> list[Tensor]:
    """Indices of shapes, colours and backgrounds, each of shape (n,)."""
    names = list(COLOURS)
    rows = [(SHAPES.index(c.shape), names.index(c.colour), names.index(c.background)) for c in shown]
    return list(torch.tensor(rows).unbind(1))


def paint_unnamed(views: Views, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Shapes in any two colours that can be told apart: shape (count, 3, 64, 64), and indices of the shapes.

    A picture that would pass for a held-out combination is painted in other colours.
    """
    shapes = rng.integers(len(SHAPES), size=count)
    pairs = np.stack([_two_colours(views, int(shape), rng) for shape in shapes])
    cover = views.masks[shapes, rng.integers(views.masks.shape[1], size=count)][:, None]
    front, back = torch.from_numpy(pairs).float()[..., None, None].unbind(1)
    return torch.lerp(back.expand(-1, -1, *cover.shape[2:]), front, cover), torch.from_numpy(shapes)


def _two_colours(views: Views, shape: int, rng: np.random.Generator) -> np.ndarray:
    """Two colours in [-1, 1], shape (2, 3)."""
    names, palette = list(COLOURS), views.palette.numpy()
    while True:
        pair = rng.uniform(-1, 1, size=(2, 3))
        nearest = [names[int(np.linalg.norm(palette - one, axis=1).argmin())] for one in pair]
        looks_like = Combination(SHAPES[shape], *nearest)
        if np.linalg.norm(pair[0] - pair[1]) > NEAR and not is_held_out(looks_like):
            return pair


@torch.no_grad()
def accuracy(student: Student, pictures: Tensor, shown: list[Combination]) -> list[float]:
    """Shares of shapes, colours and backgrounds told right."""
    scores = student.judge(look(student.model, pictures))
    return [float((score.argmax(1) == true).float().mean()) for score, true in zip(scores, labels(shown), strict=True)]
