"""Pretrains the vision encoder and the queries to classify scenes, without a language model.

Without it, the language model answers from word statistics and ignores shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForConditionalGeneration

from training.colours import COLOURS
from training.objects import OBJECTS
from training.runs import mixed_precision
from training.shapes import SHAPES
from training.vision_data import VisionDataset
from training.vision_model import WIDTH, encode_images
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
"""What each query classifies, and the classes of each."""
_INDEX = {aspect: {value: number for number, value in enumerate(values)} for aspect, values in ASPECTS.items()}


class PretrainingModel(nn.Module):
    """The model with a classification head for each aspect, on the query of the same index.

    The heads are not saved with the model.
    """

    def __init__(self, model: Blip2ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList([nn.Linear(WIDTH, len(values)) for values in ASPECTS.values()])

    def predict(self, features: Tensor) -> list[Tensor]:
        """Logits of every aspect, from the output of `encode_images`, shape (n, 8, width)."""
        return [head(features[:, query].float()) for query, head in enumerate(self.heads)]


class PretrainingLoss:
    """Sum of the aspects' cross entropies."""

    def __init__(self, model: PretrainingModel, dataset: VisionDataset, batch: int = 64) -> None:
        self.model, self.dataset, self.batch = model, dataset, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        images, scenes = self.dataset.sample_batch(rng, self.batch)
        with mixed_precision():
            features = encode_images(self.model.model, images)
        logits = self.model.predict(features)
        losses = [F.cross_entropy(s, t) for s, t in zip(logits, scene_labels(scenes), strict=True)]
        return torch.stack(losses).sum()


def scene_labels(scenes: Sequence[Scene]) -> list[Tensor]:
    """The class index of each aspect, each of shape (n,)."""
    rows = []
    for scene in scenes:
        other = scene.things[-1] if scene.is_pair else None
        values = (
            scene.thing.name, scene.thing.colour, scene.background, other.name if other else "",
            other.colour if other else "", str(len(scene.things)), scene.spot, scene.size,
        )  # fmt: skip
        rows.append([_INDEX[aspect][value] for aspect, value in zip(ASPECTS, values, strict=True)])
    return list(torch.tensor(rows).unbind(1))


@torch.no_grad()
def pretraining_accuracy(model: PretrainingModel, images: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """The share of correct predictions, by aspect."""
    logits = model.predict(encode_images(model.model, images))
    shares = [float((s.argmax(1) == t).float().mean()) for s, t in zip(logits, scene_labels(scenes), strict=True)]
    return dict(zip(ASPECTS, shares, strict=True))
