"""The outline ControlNet for `starter-image`, and its loss; the denoiser, text encoder and autoencoder are frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPTextModel

from training.control_data import ControlDataset
from training.denoiser import PROMPT_LENGTH, PURE_NOISE_SHARE, build_scheduler
from training.runs import mixed_precision

MAP_CHANNELS = (16, 32, 64, 128, 256)
"""Four halvings: the autoencoder's latents are 16 times smaller than its images."""


class FrozenImageModel:
    """The parts of `starter-image`, for training something else with them."""

    def __init__(self, folder: Path) -> None:
        def load(part: Any, name: str) -> Any:
            return part.from_pretrained(folder, subfolder=name, dtype=torch.float32).eval().requires_grad_(False)

        self.autoencoder: AutoencoderKL = load(AutoencoderKL, "vae")
        self.unet: UNet2DConditionModel = load(UNet2DConditionModel, "unet")
        self.text_encoder: CLIPTextModel = load(CLIPTextModel, "text_encoder")
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Scaled latents."""
        latents: Tensor = self.autoencoder.encode(images).latent_dist.mean.float()
        return latents * float(self.autoencoder.config.scaling_factor)

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """The states of each prompt's tokens."""
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=PROMPT_LENGTH, truncation=True, return_tensors="pt"
        ).input_ids
        states: Tensor = self.text_encoder(ids)[0]
        return states


def build_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """An untrained ControlNet that has no effect yet.

    The library also sets the last layer of the map's embedding to zero, which delays the first effect of the map by
    thousands of steps; one layer of zeros suffices.
    """
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=MAP_CHANNELS)
    last = controlnet.controlnet_cond_embedding.conv_out
    nn.init.normal_(last.weight, std=(9 * MAP_CHANNELS[-1]) ** -0.5)
    return controlnet.requires_grad_(True)


class ControlLoss:
    """Velocity loss of the frozen denoiser with the ControlNet's residuals."""

    def __init__(self, controlnet: ControlNetModel, model: FrozenImageModel, batch: int = 32) -> None:
        self.controlnet, self.model, self.batch = controlnet, model, batch
        self.dataset, self.scheduler = ControlDataset(), build_scheduler()

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        images, maps, prompts = self.dataset.sample_batch(rng, self.batch)
        timesteps = sample_timesteps(rng, self.batch)
        with mixed_precision():
            clean, states = self.model.encode_images(images), self.model.encode_prompts(prompts)
            noise = torch.randn_like(clean)
            noisy = self.scheduler.add_noise(clean, noise, timesteps)
            down, mid = self.controlnet(
                noisy, timesteps, encoder_hidden_states=states, controlnet_cond=maps, return_dict=False
            )
            predicted = self.model.unet(
                noisy, timesteps, states, down_block_additional_residuals=down, mid_block_additional_residual=mid
            ).sample.float()
        return F.mse_loss(predicted, self.scheduler.get_velocity(clean, noise, timesteps))


def sample_timesteps(rng: np.random.Generator, count: int) -> Tensor:
    """As the denoiser's: many at pure noise, where the map alone decides."""
    sampled = 1000 * rng.random(count) ** 0.6
    sampled[rng.random(count) < PURE_NOISE_SHARE] = 999
    return torch.from_numpy(sampled).long().clamp(0, 999)
