"""Pictures to look at: scenes a little out of place and size, roughened as cameras and codecs do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.colours import rgb
from training.draw import compose, to_tensor
from training.rough import roughen
from training.scenes import COUNTED, PAIRED, PLAIN, SIZED, SPOTTED, SceneChooser
from training.world import SIZE, Placed, Scene

SIDE = 64
"""What the processor makes of every picture, in pixels."""
SEEN = {PLAIN: 0.55, SIZED: 0.1, SPOTTED: 0.12, COUNTED: 0.1, PAIRED: 0.13}
DECODED_SHARE = 0.3
GRID = 6
"""Heights are multiples of this many pixels, so that few sprites are kept."""
Decoded = tuple[Tensor, list[Scene]]
"""Pictures that passed through the image model's autoencoder, shape (n, 3, 64, 64), and what they show."""


class Views:
    """Training pictures for the model that looks, and what each shows."""

    def __init__(self, decoded: Decoded | None = None) -> None:
        self.chooser = SceneChooser(SEEN, objects=0.75)
        self.decoded = decoded

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Scene]]:
        """Pictures, shape (count, 3, 64, 64) in [-1, 1], and what they show."""
        drawn = count if self.decoded is None else count - round(count * DECODED_SHARE)
        shown = [self.chooser.choose(rng) for _ in range(drawn)]
        pictures = shrink(to_tensor([compose(loosen(scene, rng), rgb(scene.background)) for scene in shown]))
        if self.decoded is not None:
            more, scenes = self.decoded
            picked = rng.integers(len(scenes), size=count - drawn)
            pictures = torch.cat([pictures, more[torch.from_numpy(picked)]])
            shown += [scenes[i] for i in picked]
        return roughen(pictures, rng), shown


def loosen(scene: Scene, rng: np.random.Generator) -> tuple[Placed, ...]:
    """The layout, each thing up to a tenth larger or smaller and a little off its place."""
    layout = []
    for placed in scene.layout():
        pixels = max(GRID, round(placed.height * SIZE * float(rng.uniform(0.88, 1.1)) / GRID) * GRID)
        x, y = (c + float(rng.uniform(-0.03, 0.03)) for c in placed.centre)
        layout.append(replace(placed, centre=(x, y), height=pixels / SIZE))
    return tuple(layout)


def shrink(pictures: Tensor) -> Tensor:
    """To the size that the model sees."""
    return F.interpolate(pictures, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
