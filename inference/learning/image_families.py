"""Which image models can be trained, and what differs between them: how pictures become latents, and how time counts.

Everything else about a call of the denoiser is recorded from the pipeline itself (`DenoiserCalls`).

Source: Diffusers' training recipes, examples/dreambooth (`train_dreambooth_lora*.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Encoder = Callable[[Any, Tensor], Tensor]
"""Latents as the denoiser takes them, one row, from a pipeline and pixels: RGB, (1, 3, height, width), in [-1, 1]."""


@dataclass(frozen=True)
class ImageFamily:
    """Attributes:
    latents, time: names of the denoiser's arguments.
    is_flow: it predicts the velocity from image to noise (flow matching), otherwise what its scheduler says.
    time_scale: of a noise level in [0, 1].
    is_reversed: time and velocity run from noise to image.
    is_listed: its rows are elements of a list, each (channels, 1, height, width).
    """

    encode: Encoder
    latents: str = "hidden_states"
    time: str = "timestep"
    is_flow: bool = True
    time_scale: float = 1.0
    is_reversed: bool = False
    is_listed: bool = False

    def place(self, noisy: Tensor, times: Tensor) -> dict[str, Any]:
        """The arguments that change from step to step. `times`: as the denoiser counts, (rows,)."""
        rows = list(noisy.unsqueeze(2)) if self.is_listed else noisy
        return {self.latents: rows, self.time: times}

    def read_output(self, output: Any, rows: int, like: Tensor) -> Tensor:
        """The prediction, shaped like the latents."""
        found = output if isinstance(output, Tensor) else output[0]
        if isinstance(found, list | tuple):
            found = torch.stack([row.reshape(like.shape[1:]) for row in found])
        return found[:, -like.shape[1] :].reshape(rows, *like.shape[1:]) if like.ndim == 3 else found


@torch.no_grad()
def _encode_scaled(pipeline: Any, pixels: Tensor) -> Tensor:
    vae = pipeline.vae
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
    config = vae.config
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and spread is not None:
        mean, spread = (torch.tensor(one, device=latents.device).view(1, -1, 1, 1) for one in (mean, spread))
        return (latents - mean) * config.scaling_factor / spread
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor


@torch.no_grad()
def _encode_klein(pipeline: Any, pixels: Tensor) -> Tensor:
    vae = pipeline.vae
    latents = pipeline._encode_vae_image(pixels.to(vae.device, vae.dtype), None)
    packed: Tensor = pipeline._pack_latents(latents).float()
    return packed


@torch.no_grad()
def _encode_video_vae(pipeline: Any, pixels: Tensor) -> Tensor:
    """With the autoencoders of video models, for which an image is a film of one frame; some have an alpha channel."""
    vae = pipeline.vae
    if getattr(vae.config, "in_channels", 3) == _RGBA:
        pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
    latents = vae.encode(pixels.unsqueeze(2).to(vae.device, vae.dtype)).latent_dist.mode().float()
    shape = (1, latents.shape[1], 1, 1, 1)
    mean, spread = (torch.tensor(one, device=latents.device).view(shape) for one in _statistics(vae.config))
    latents = ((latents - mean) / spread)[:, :, 0]
    packed: Tensor = pipeline._pack_latents(latents, *latents.shape)
    return packed


def _statistics(config: Any) -> tuple[list[float], list[float]]:
    return config.latents_mean, config.latents_std


_RGBA = 4
_UNET = ImageFamily(_encode_scaled, "sample", "timestep", is_flow=False)
FAMILIES: Mapping[str, ImageFamily] = {
    "StableDiffusionPipeline": _UNET,
    "StableDiffusionXLPipeline": _UNET,
    "Flux2KleinPipeline": ImageFamily(_encode_klein),
    "ZImagePipeline": ImageFamily(_encode_scaled, "x", "t", is_reversed=True, is_listed=True),
    "Krea2Pipeline": ImageFamily(_encode_video_vae),
    "QwenImage21Pipeline": ImageFamily(_encode_video_vae),
}
"""By the pipeline's class."""
_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out", "to_out.0", "to_qkv_mlp_proj")


def list_attention_layers(denoiser: nn.Module) -> list[str]:
    """The linear layers of its attention: queries, keys, values and outputs."""
    return [
        name
        for name, layer in denoiser.named_modules()
        if isinstance(layer, nn.Linear) and any(name.endswith(f".{ending}") for ending in _PROJECTIONS)
    ]
