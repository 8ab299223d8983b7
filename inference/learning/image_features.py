"""What pictures show, as vectors: the denoiser's own features, without the adapter, so no other model is needed.

A little noise is added to a picture, and the denoiser's middle layer is read, as mean and spread over its positions.
Source: "Emergent Correspondence from Image Diffusion" (arXiv:2306.03881).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inference.learning.image_model import TrainedImageModel

LEVEL = 0.26
"""Of the noise: low enough to keep what is shown, high enough that it is not about texture."""
ROWS = 8


class PictureFeatures:
    def __init__(self, model: TrainedImageModel) -> None:
        self._model = model
        self._call = model.calls.record("")
        self._layer = _middle_layer(model.denoiser)

    @torch.no_grad()
    def read(self, latents: Sequence[Tensor]) -> Tensor:
        """(pictures, width), from latents of one row each."""
        with self._model.without_adapter():
            parts = [
                self._read(torch.cat(list(latents[start : start + ROWS]))) for start in range(0, len(latents), ROWS)
            ]
        return torch.cat(parts)

    def _read(self, clean: Tensor) -> Tensor:
        model, seen = self._model, []
        one = torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(0)).to(clean)
        rows = model.noise.add(clean, one.expand_as(clean), torch.full((len(clean),), LEVEL))
        handle = self._layer.register_forward_hook(lambda _, __, output: seen.append(_largest(output)))
        try:
            model.calls.predict([self._call] * len(clean), rows.noisy, rows.times)
        finally:
            handle.remove()
        return torch.cat([_pool(values, len(clean) // len(seen)) for values in seen])


def _middle_layer(denoiser: nn.Module) -> nn.Module:
    """A UNet's middle block; of a transformer, the middle one of its longest list of blocks."""
    middle = getattr(denoiser, "mid_block", None)
    if isinstance(middle, nn.Module):
        return middle
    blocks = max((one for one in denoiser.children() if isinstance(one, nn.ModuleList)), key=len)
    return blocks[len(blocks) // 2]


def _largest(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    return max((one for one in output if isinstance(one, Tensor)), key=Tensor.numel)


def _pool(values: Tensor, rows: int) -> Tensor:
    """Mean and spread over positions, of (rows, channels, height, width) or (rows, tokens, width)."""
    values = values.float().reshape(rows, *values.shape[1:])
    positions = values.flatten(2).transpose(1, 2) if values.ndim == 4 else values
    return torch.cat([positions.mean(dim=1), positions.std(dim=1)], dim=1)


def compare(first: Tensor, second: Tensor, centre: Tensor) -> Tensor:
    """Cosines of the vectors' differences from `centre`: (len(first), len(second))."""
    one, other = (nn.functional.normalize(values - centre, dim=1) for values in (first, second))
    return one @ other.T
