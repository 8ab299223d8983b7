"""Stable Diffusion 1.5 and SDXL with random weights, made from their configs: nothing is downloaded.

Each in its real size, or tiny, with the same structure, so that the same benchmark runs in seconds on a CPU.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.shapes import STARTER, parameter_millions

SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TINY_UNET: dict[str, Any] = {"block_out_channels": (16, 32), "norm_num_groups": 8, "layers_per_block": 1}
TINY_TEXT: dict[str, Any] = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def random_model(build: Callable[[], Any], device: str = "cpu") -> Any:
    """A model of `build()` in bfloat16 without its slow initialisation: small random matrices, neutral norms."""
    with torch.device("meta"):
        model = build()
    model = model.to(torch.bfloat16).to_empty(device=device).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                weights.normal_(std=0.02)
            else:
                weights.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model


def save_sd15(folder: Path, *, is_tiny: bool = False, device: str = "cpu") -> float:
    """Returns millions of parameters. Source of the shapes: the configs of stable-diffusion-v1-5."""
    width = 16 if is_tiny else 768
    small = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        **TINY_UNET,
    }
    unet = random_model(
        lambda: UNet2DConditionModel(
            sample_size=64, cross_attention_dim=width, attention_head_dim=8, **(small if is_tiny else {})
        ),
        device,
    )
    text = {"intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    text_encoder = random_model(lambda: CLIPTextModel(_text_config(width, TINY_TEXT if is_tiny else text)), device)
    vae = _autoencoder(is_tiny, device)
    StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=_tokenizer(),
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return parameter_millions(unet, vae, text_encoder)


def save_sdxl(folder: Path, *, is_tiny: bool = False, device: str = "cpu") -> float:
    """Returns millions of parameters. Source of the shapes: the configs of stable-diffusion-xl-base-1.0."""
    widths = (16, 16) if is_tiny else (768, 1280)
    blocks: dict[str, Any] = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "addition_time_embed_dim": 256,
    }
    small = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4),
        "addition_time_embed_dim": 8,
        **TINY_UNET,
    }
    chosen = small if is_tiny else blocks
    unet = random_model(
        lambda: UNet2DConditionModel(
            sample_size=128,
            cross_attention_dim=sum(widths),
            use_linear_projection=True,
            addition_embed_type="text_time",
            projection_class_embeddings_input_dim=6 * chosen["addition_time_embed_dim"] + widths[1],
            **chosen,
        ),
        device,
    )
    layers = [{"intermediate_size": 4 * width, "num_hidden_layers": 2 + 10 * n, "num_attention_heads": width // 64 or 2}
              for width, n in zip(widths, (1, 3), strict=True)]  # fmt: skip
    first, second = [TINY_TEXT, TINY_TEXT] if is_tiny else layers
    text_encoder = random_model(lambda: CLIPTextModel(_text_config(widths[0], first)), device)
    second_encoder = random_model(lambda: CLIPTextModelWithProjection(_text_config(widths[1], second)), device)
    vae = _autoencoder(is_tiny, device)
    StableDiffusionXLPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        text_encoder_2=second_encoder,
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
    ).save_pretrained(folder)
    return parameter_millions(unet, vae, text_encoder, second_encoder)


def publish_float32(folder: Path) -> None:
    """Write the weights of a saved Stable Diffusion in float32 and under the names that the Hub's files have, which
    other programs look for."""
    for path in folder.glob("*/*.safetensors"):
        prefix = "text_model." if path.parent.name == "text_encoder" else ""
        weights = {f"{prefix}{name}": values.float() for name, values in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})


def _autoencoder(is_tiny: bool, device: str) -> Any:
    widths = (8, 8, 8, 8) if is_tiny else (128, 256, 512, 512)
    return random_model(
        lambda: AutoencoderKL(
            block_out_channels=widths,
            norm_num_groups=4 if is_tiny else 32,
            layers_per_block=1 if is_tiny else 2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=512,
        ),
        device,
    )


def _text_config(width: int, layers: dict[str, Any]) -> CLIPTextConfig:
    return CLIPTextConfig(hidden_size=width, projection_dim=width, bos_token_id=1, eos_token_id=2, **layers)


def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(STARTER / "tokenizer", model_max_length=77)
