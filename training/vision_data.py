"""Pictures to look at: scenes at any size and place, roughened as cameras and codecs do."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.scenes import index_combinations
from training.world import COLOURS, SHAPES, Combination, draw_mask, for_training

SIDE = 64
"""What the processor makes of every picture, in pixels."""


class Views:
    """Training pictures for the model that looks, and what each shows."""

    def __init__(self, variants: int = 240, decoded: tuple[Tensor, list[Combination]] | None = None) -> None:
        """Draw the masks.

        Args:
            variants: sizes and places of each shape.
            decoded: pictures that passed through the autoencoder, shape (n, 3, 64, 64), in
                [-1, 1], and what they show; mixed in when given.
        """
        rng = np.random.default_rng(7)
        drawn = [[_random_mask(shape, rng) for _ in range(variants)] for shape in SHAPES]
        self.masks = torch.from_numpy(np.array(drawn)).float() / 255
        self.palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 127.5 - 1
        self.training = for_training()
        self.indices = index_combinations(self.training)
        self.decoded = decoded

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Combination]]:
        """Pictures, shape (count, 3, 64, 64) in [-1, 1], and what they show."""
        drawn = count if self.decoded is None else count - count // 3
        chosen = rng.integers(len(self.training), size=drawn)
        pictures = self._paint(self.indices[chosen], rng)
        shown = [self.training[i] for i in chosen]
        if self.decoded is not None:
            more, names = self.decoded
            picked = rng.integers(len(names), size=count - drawn)
            pictures = torch.cat([pictures, more[torch.from_numpy(picked)]])
            shown += [names[i] for i in picked]
        return roughen(pictures, rng), shown

    def _paint(self, chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        shapes, colours, backgrounds = chosen.T
        variants = rng.integers(self.masks.shape[1], size=len(chosen))
        cover = self.masks[shapes, variants][:, None]
        flips = torch.from_numpy(rng.random(len(chosen)) < 0.5)
        cover = torch.where(flips[:, None, None, None], cover.flip(-1), cover)
        front, back = self.palette[colours], self.palette[backgrounds]
        return torch.lerp(back[..., None, None], front[..., None, None], cover)


def _random_mask(shape: str, rng: np.random.Generator) -> np.ndarray:
    """A shape at 61-89 % of the height in the middle (usually) or smaller and elsewhere."""
    if rng.random() < 0.9:
        return draw_mask(shape, float(rng.uniform(0.6, 0.9)), size=SIDE)
    height = float(rng.uniform(0.4, 0.85))
    room = (1 - height) / 2
    place = (0.5 + float(rng.uniform(-room, room)), 0.5 + float(rng.uniform(-room, room)))
    return draw_mask(shape, height, place, size=SIDE)


def roughen(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Change light, sharpness and grain a little, each picture in its own way."""
    count = len(pictures)
    light = 1 + 0.05 * torch.randn(count, 1, 1, 1)
    shift = 0.03 * torch.randn(count, 3, 1, 1)
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, soft, torch.rand(count, 1, 1, 1) * 0.9)
    grain = 0.06 * torch.rand(count, 1, 1, 1) * torch.randn_like(pictures)
    pictures = (((pictures + 1) * light - 1) + shift + grain).clamp(-1, 1)
    for i in np.flatnonzero(rng.random(count) < 0.1):
        pictures[i] = _through_jpeg(pictures[i], int(rng.integers(40, 95)))
    return pictures


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    pixels = ((picture + 1) * 127.5).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    again = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(again / 127.5 - 1).permute(2, 0, 1)
