"""Training images for the vision models: scenes with jittered positions and sizes, augmented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.augmentation import augment_images
from training.colours import colour_rgb
from training.draw import compose_image, images_to_tensor
from training.scenes import COUNTED, PAIRED, PLAIN, SIZED, SPOTTED, SceneSampler
from training.world import SIZE, Placed, Scene

SIDE = 64
"""Image side after the processor, in pixels."""
SCENE_MIX = {PLAIN: 0.55, SIZED: 0.1, SPOTTED: 0.12, COUNTED: 0.1, PAIRED: 0.13}
RECONSTRUCTED_SHARE = 0.3
HEIGHT_STEP = 6
"""Heights are multiples of this many pixels, so few sprites need to be cached."""
Reconstructions = tuple[Tensor, list[Scene]]
"""Images reconstructed by the image model's autoencoder, shape (n, 3, 64, 64), and their scenes."""


class VisionDataset:
    """Samples training images and their scenes."""

    def __init__(self, reconstructions: Reconstructions | None = None) -> None:
        self.sampler = SceneSampler(SCENE_MIX, objects=0.75)
        self.reconstructions = reconstructions

    def sample_batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Scene]]:
        """Images, shape (count, 3, 64, 64) in [-1, 1], and their scenes."""
        rendered = count if self.reconstructions is None else count - round(count * RECONSTRUCTED_SHARE)
        scenes = [self.sampler.sample_scene(rng) for _ in range(rendered)]
        renders = [compose_image(jitter_layout(scene, rng), colour_rgb(scene.background)) for scene in scenes]
        images = resize_images(images_to_tensor(renders))
        if self.reconstructions is not None:
            reconstructed, their_scenes = self.reconstructions
            rows = rng.integers(len(their_scenes), size=count - rendered)
            images = torch.cat([images, reconstructed[torch.from_numpy(rows)]])
            scenes += [their_scenes[i] for i in rows]
        return augment_images(images, rng), scenes


def jitter_layout(scene: Scene, rng: np.random.Generator) -> tuple[Placed, ...]:
    """The layout with each thing up to a tenth larger or smaller and slightly displaced."""
    layout = []
    for placed in scene.layout():
        height = placed.height * SIZE * float(rng.uniform(0.88, 1.1))
        pixels = max(HEIGHT_STEP, round(height / HEIGHT_STEP) * HEIGHT_STEP)
        x, y = (c + float(rng.uniform(-0.03, 0.03)) for c in placed.centre)
        layout.append(replace(placed, centre=(x, y), height=pixels / SIZE))
    return tuple(layout)


def resize_images(images: Tensor) -> Tensor:
    """To the model's input size."""
    return F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
