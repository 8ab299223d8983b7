"""From a model's coarse mask to one of the image's size, whose edges follow those of the image."""

import numpy
import torch
from PIL import Image
from torch.nn import functional as F

from inference.segmentation.guided_filter import fast_guided_filter

WORK_SIDE = 1536
"""Pixels: larger images get a mask of this size, enlarged."""
_COEFFICIENT_SIDE = 512
_EPSILON = 1e-3
_PASSES = 2
"""Of the filter: the second one starts from edges that are nearer to those of the image."""
_CONTRAST = 3.0
"""Of the filtered mask: narrows the haze that the filter leaves along edges."""


def refine_mask(mask: torch.Tensor, image: Image.Image, edge_px: int) -> Image.Image:
    """Mode L, of the image's size; 255 is inside.

    Args:
        mask: (height, width), bool, of any size.
        edge_px: how far its edges may be off, in its own pixels.
    """
    if not mask.any() or mask.all():
        return Image.new("L", image.size, 255 if mask.any() else 0)
    work = image.copy()
    work.thumbnail((WORK_SIDE, WORK_SIDE))
    guide = torch.from_numpy(numpy.array(work)).permute(2, 0, 1).float() / 255
    edges = F.interpolate(mask[None, None].float(), guide.shape[-2:], mode="bilinear", antialias=True)[0, 0]
    radius = max(1, round(edge_px * min(guide.shape[-2:]) / min(mask.shape)))
    for _ in range(_PASSES):
        edges = fast_guided_filter(guide, (edges >= 0.5).float(), radius, _EPSILON, _COEFFICIENT_SIDE)
    alpha = ((edges - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    refined = Image.fromarray((alpha * 255).round().to(torch.uint8).numpy())
    return refined.resize(image.size, Image.Resampling.BILINEAR) if refined.size != image.size else refined
