"""The guided filter: lets a coarse mask follow the edges of its image.

Source: He, Sun, Tang, "Guided Image Filtering" (2013), for a guide in colour; He, Sun, "Fast Guided Filter" (2015): the
coefficients are computed on a reduced image and enlarged.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def guided_filter(guide: Tensor, mask: Tensor, radius: int, epsilon: float) -> Tensor:
    """The mask as a linear function of the guide's colour in each window.

    Args:
        guide: the image, (3, height, width), in [0, 1].
        mask: (height, width).
        radius: of the square windows, in pixels.
        epsilon: variance of the guide from which on an edge is kept.
    """
    slopes, offset = _coefficients(guide, mask, radius, epsilon)
    return (slopes * guide).sum(dim=0) + offset


def fast_guided_filter(guide: Tensor, mask: Tensor, radius: int, epsilon: float, max_side: int) -> Tensor:
    """`guided_filter` with coefficients from an image of at most `max_side` pixels a side, which takes less time."""
    height, width = guide.shape[-2:]
    scale = min(1.0, max_side / max(height, width))
    if scale == 1:
        return guided_filter(guide, mask, radius, epsilon)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = _resize(torch.cat([guide, mask[None]]), size)
    slopes, offset = _coefficients(small[:3], small[3], max(1, round(radius * scale)), epsilon)
    enlarged = _resize(torch.cat([slopes, offset[None]]), (height, width))
    return (enlarged[:3] * guide).sum(dim=0) + enlarged[3]


def _coefficients(guide: Tensor, mask: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """The mean slopes, (3, height, width), and offset, (height, width), of the windows that cover each pixel."""
    colours, value = _window_means(guide, radius), _window_means(mask[None], radius)
    pairs = guide[:, None] * guide[None]
    covariance = _window_means(pairs.flatten(0, 1), radius).view_as(pairs) - colours[:, None] * colours[None]
    shared = _window_means(guide * mask, radius) - colours * value
    matrices = covariance.permute(2, 3, 0, 1) + epsilon * torch.eye(3)
    slopes = torch.linalg.solve(matrices, shared.permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
    offset = value[0] - (slopes * colours).sum(dim=0)
    return _window_means(slopes, radius), _window_means(offset[None], radius)[0]


def _window_means(channels: Tensor, radius: int) -> Tensor:
    """Means over square windows, which are smaller at the borders; (channels, height, width)."""
    side = 2 * radius + 1
    rows = F.avg_pool2d(channels[None], (1, side), stride=1, padding=(0, radius), count_include_pad=False)
    return F.avg_pool2d(rows, (side, 1), stride=1, padding=(radius, 0), count_include_pad=False)[0]


def _resize(channels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(channels[None], size, mode="bilinear", antialias=True)[0]
