"""The autoencoder and its loss: 128 x 128 images to 8 x 8 x 32 latents and back.

Downsampling by 16 keeps the denoiser cheap. Most steps train on quarter images, where edges are dense; the last ones on
whole images, as the decoder is used.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from training.runs import mixed_precision
from training.scenes import SceneSampler, render_batch
from training.world import SIZE

CHANNELS = (16, 32, 64, 96, 128)
LATENT_CHANNELS = 32
CROP_STRIDE = 16


def build_autoencoder() -> AutoencoderKL:
    """An autoencoder of 3.5 M parameters, initialised to pass block averages through."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=SIZE,
    )
    initialise_identity_path(model)
    return model


@torch.no_grad()
def initialise_identity_path(model: AutoencoderKL) -> None:
    """Start with an identity path for colours, which otherwise takes thousands of steps to form.

    Residual branches start at zero; the layers between them pass their channels on.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if name.endswith("conv2"):
            layer.weight.zero_()
        elif not name.endswith("conv1"):
            layer.weight.mul_(0.2)
            layer.weight.add_(_identity_kernel(layer, name))
        nn.init.zeros_(layer.bias)
    nn.init.constant_(model.quant_conv.bias[LATENT_CHANNELS:], -5.0)


def _identity_kernel(layer: nn.Conv2d, name: str) -> Tensor:
    """A kernel that passes channels on: rotated at random, or unchanged in resampling layers."""
    kernel = torch.zeros_like(layer.weight)
    rotation = torch.empty(layer.out_channels, layer.in_channels)
    nn.init.eye_(rotation) if "samplers" in name or "quant" in name else nn.init.orthogonal_(rotation)
    if "downsamplers" in name:
        kernel[:, :, :2, :2] = rotation[:, :, None, None] / 4
    else:
        center = layer.kernel_size[0] // 2
        kernel[:, :, center, center] = rotation
    return kernel


class AutoencoderLoss:
    """Reconstruction loss on rendered images, on crops first."""

    def __init__(self, model: AutoencoderKL, sampler: SceneSampler, crop_steps: int, batch: int) -> None:
        self.model, self.sampler = model, sampler
        self.crop_steps, self.batch = crop_steps, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        is_cropped = step < self.crop_steps
        jitter = 16.0 if step % 2 else 0.0
        images, _ = render_batch(self.sampler, rng, self.batch if is_cropped else self.batch // 2, jitter)
        if is_cropped:
            images = random_crops(images, SIZE // 2, rng)
        with mixed_precision():
            posterior = self.model.encode(images).latent_dist
            latents = posterior.sample()
            noise_std = 0.1 * float(latents.detach().float().std())
            latents = latents + noise_std * rng.random() * torch.randn_like(latents)
            reconstructed = self.model.decode(latents).sample.float()
        return reconstruction_loss(reconstructed, images) + 1e-5 * posterior.kl().mean() / 64


def random_crops(images: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """One square of each image, aligned to the latent grid: shape (n, 3, side, side)."""
    positions = (images.shape[-1] - side) // CROP_STRIDE + 1
    corners = rng.integers(positions, size=(len(images), 2)) * CROP_STRIDE
    pairs = zip(images, corners.tolist(), strict=True)
    return torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in pairs])


def reconstruction_loss(reconstructed: Tensor, images: Tensor) -> Tensor:
    """Distance of two batches of images, in colour and in edges."""
    error = reconstructed - images
    across = (error[..., :, 1:] - error[..., :, :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return F.l1_loss(reconstructed, images) + F.mse_loss(reconstructed, images) + across + down
