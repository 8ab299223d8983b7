"""Roughens pictures as cameras and codecs do: light, sharpness, grain."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


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
