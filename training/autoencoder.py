"""Trains the autoencoder: 128 x 128 pictures to 8 x 8 x 32 latents and back.

Sixteen times smaller on a side keeps the denoiser cheap. Most steps see quarter pictures, where
edges are dense; the last ones see whole pictures, as the decoder will in use.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from training.runs import fast_arithmetic
from training.scenes import SceneChooser, draw_batch
from training.world import SIZE

CHANNELS = (16, 32, 64, 96, 128)
LATENT_CHANNELS = 32
STEP_OF_CROPS = 16


def build_autoencoder() -> AutoencoderKL:
    """An autoencoder of 3.5 M parameters that begins by passing averages of squares through."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=SIZE,
    )
    carry_colours(model)
    return model


@torch.no_grad()
def carry_colours(model: AutoencoderKL) -> None:
    """Start with a straight path for colours, which else takes thousands of steps to form.

    Residual branches begin at nothing; what lies between them hands its channels on.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if name.endswith("conv2"):
            layer.weight.zero_()
        elif not name.endswith("conv1"):
            layer.weight.mul_(0.2)
            layer.weight.add_(_straight(layer, name))
        nn.init.zeros_(layer.bias)
    nn.init.constant_(model.quant_conv.bias[LATENT_CHANNELS:], -5.0)


def _straight(layer: nn.Conv2d, name: str) -> Tensor:
    """A kernel that hands channels on: turned at random, or as they are in resampling layers."""
    kernel = torch.zeros_like(layer.weight)
    turn = torch.empty(layer.out_channels, layer.in_channels)
    nn.init.eye_(turn) if "samplers" in name or "quant" in name else nn.init.orthogonal_(turn)
    if "downsamplers" in name:
        kernel[:, :, :2, :2] = turn[:, :, None, None] / 4
    else:
        middle = layer.kernel_size[0] // 2
        kernel[:, :, middle, middle] = turn
    return kernel


class AutoencoderLoss:
    """What the autoencoder learns from: pictures to rebuild, crops first."""

    def __init__(self, model: AutoencoderKL, chooser: SceneChooser, crop_steps: int, batch: int) -> None:
        self.model, self.chooser = model, chooser
        self.crop_steps, self.batch = crop_steps, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        crops = step < self.crop_steps
        jitter = 16.0 if step % 2 else 0.0
        pictures, _ = draw_batch(self.chooser, rng, self.batch if crops else self.batch // 2, jitter)
        if crops:
            pictures = random_crops(pictures, SIZE // 2, rng)
        with fast_arithmetic():
            posterior = self.model.encode(pictures).latent_dist
            latents = posterior.sample()
            spread = 0.1 * float(latents.detach().float().std())
            latents = latents + spread * rng.random() * torch.randn_like(latents)
            rebuilt = self.model.decode(latents).sample.float()
        return rebuilding_loss(rebuilt, pictures) + 1e-5 * posterior.kl().mean() / 64


def random_crops(pictures: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """One square of each picture, on the grid of latents: shape (n, 3, side, side)."""
    places = (pictures.shape[-1] - side) // STEP_OF_CROPS + 1
    corners = rng.integers(places, size=(len(pictures), 2)) * STEP_OF_CROPS
    pairs = zip(pictures, corners.tolist(), strict=True)
    return torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in pairs])


def rebuilding_loss(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    """How far two batches of pictures lie apart: in colour and in edges."""
    error = rebuilt - pictures
    across = (error[..., :, 1:] - error[..., :, :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return F.l1_loss(rebuilt, pictures) + F.mse_loss(rebuilt, pictures) + across + down
