"""Teaches seeing before speaking: the picture tower and the queries learn what a scene holds, with no words.

Without it the language model answers from how often words go together, and never looks at shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForConditionalGeneration

from training.colours import COLOURS
from training.looker import WIDTH, look
from training.objects import OBJECTS
from training.runs import fast_arithmetic
from training.shapes import SHAPES
from training.vision_data import Views
from training.world import HEIGHTS, SPOTS, Scene

NAMES = ("", *OBJECTS, *SHAPES)
ASPECTS: dict[str, Sequence[str]] = {
    "thing": NAMES,
    "colour": ("", *COLOURS),
    "background": tuple(COLOURS),
    "other thing": NAMES,
    "other colour": ("", *COLOURS),
    "count": ("1", "2", "3"),
    "spot": tuple(SPOTS),
    "size": tuple(HEIGHTS),
}
"""What is told apart, one aspect by each query, and the values of each."""
_INDEX = {aspect: {value: number for number, value in enumerate(values)} for aspect, values in ASPECTS.items()}


class Student(nn.Module):
    """The model, and a head for each aspect, read from the query of the same number.

    The heads stay behind when the model is saved.
    """

    def __init__(self, model: Blip2ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList([nn.Linear(WIDTH, len(values)) for values in ASPECTS.values()])

    def judge(self, seen: Tensor) -> list[Tensor]:
        """Scores of every aspect, from what the language model is shown, shape (n, 8, width)."""
        return [head(seen[:, query].float()) for query, head in enumerate(self.heads)]


class SightLoss:
    """What is learned from: pictures and what they show, no words."""

    def __init__(self, student: Student, views: Views, batch: int = 64) -> None:
        self.student, self.views, self.batch = student, views, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        pictures, shown = self.views.batch(rng, self.batch)
        with fast_arithmetic():
            seen = look(self.student.model, pictures)
        scores = self.student.judge(seen)
        losses = [F.cross_entropy(s, t) for s, t in zip(scores, labels(shown), strict=True)]
        return torch.stack(losses).sum()


def labels(shown: Sequence[Scene]) -> list[Tensor]:
    """The number of each aspect's value, each of shape (n,)."""
    rows = []
    for scene in shown:
        other = scene.things[-1] if scene.is_pair else None
        values = (
            scene.thing.name, scene.thing.colour, scene.background, other.name if other else "",
            other.colour if other else "", str(len(scene.things)), scene.spot, scene.size,
        )  # fmt: skip
        rows.append([_INDEX[aspect][value] for aspect, value in zip(ASPECTS, values, strict=True)])
    return list(torch.tensor(rows).unbind(1))


@torch.no_grad()
def accuracy(student: Student, pictures: Tensor, shown: Sequence[Scene]) -> dict[str, float]:
    """The share told right, by aspect."""
    scores = student.judge(look(student.model, pictures))
    shares = [float((s.argmax(1) == t).float().mean()) for s, t in zip(scores, labels(shown), strict=True)]
    return dict(zip(ASPECTS, shares, strict=True))
