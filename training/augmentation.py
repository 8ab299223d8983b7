"""Image augmentation as by cameras and codecs: brightness, sharpness, grain."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def augment_images(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, sharpness and grain a little, independently for each image."""
    count = len(images)
    brightness = 1 + 0.05 * torch.randn(count, 1, 1, 1)
    shift = 0.03 * torch.randn(count, 3, 1, 1)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.lerp(images, soft, torch.rand(count, 1, 1, 1) * 0.9)
    grain = 0.06 * torch.rand(count, 1, 1, 1) * torch.randn_like(images)
    images = (((images + 1) * brightness - 1) + shift + grain).clamp(-1, 1)
    for i in np.flatnonzero(rng.random(count) < 0.1):
        images[i] = _jpeg_round_trip(images[i], int(rng.integers(40, 95)))
    return images


def _jpeg_round_trip(image: Tensor, quality: int) -> Tensor:
    pixels = ((image + 1) * 127.5).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    again = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(again / 127.5 - 1).permute(2, 0, 1)
