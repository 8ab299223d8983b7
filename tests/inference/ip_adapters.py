"""Tiny IP-Adapters with random weights, in the published layout, with their image encoders."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

PROJECTED, HIDDEN, TOKENS, INNER = 12, 24, 4, 8


def save_image_encoder(folder: Path, seed: int = 0, *, projected: int = PROJECTED) -> Path:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        image_size=16, patch_size=8, hidden_size=HIDDEN, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=projected,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def save_ip_adapter(path: Path, unet, seed: int = 0, variant: str = "plain") -> Path:
    """For the UNet's layers. `variant`: "plain" takes one embedding of a picture, "plus" and "full" the features of all
    its patches, "plus" with a resampler."""
    generator = torch.Generator().manual_seed(seed)
    width = unet.config.cross_attention_dim
    make = {"plain": _projection, "plus": _plus_projection, "full": _full_projection}[variant]
    projection = make(width, generator)
    state = {f"image_proj.{name}": value for name, value in projection.items()}
    for index, name in enumerate(name for name in unet.attn_processors if "attn2" in name):
        out = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * index + 1}.{part}.weight"] = torch.randn(out, width, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path


def _projection(width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {
        "proj.weight": torch.randn(TOKENS * width, PROJECTED, generator=generator),
        "proj.bias": torch.randn(TOKENS * width, generator=generator),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }


def _full_projection(width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {
        "proj.0.weight": torch.randn(HIDDEN, HIDDEN, generator=generator),
        "proj.0.bias": torch.randn(HIDDEN, generator=generator),
        "proj.2.weight": torch.randn(width, HIDDEN, generator=generator),
        "proj.2.bias": torch.randn(width, generator=generator),
        "proj.3.weight": torch.ones(width),
        "proj.3.bias": torch.zeros(width),
    }


def _plus_projection(width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    def linear(out: int, into: int) -> torch.Tensor:
        return torch.randn(out, into, generator=generator) / into**0.5

    state = {
        "latents": torch.randn(1, TOKENS, INNER, generator=generator),
        "proj_in.weight": linear(INNER, HIDDEN),
        "proj_in.bias": torch.zeros(INNER),
        "proj_out.weight": linear(width, INNER),
        "proj_out.bias": torch.zeros(width),
        "norm_out.weight": torch.ones(width),
        "norm_out.bias": torch.zeros(width),
    }
    for number in range(4):
        attention, forward = f"layers.{number}.0.", f"layers.{number}.1."
        for name in (f"{attention}norm1", f"{attention}norm2", f"{forward}0"):
            state |= {f"{name}.weight": torch.ones(INNER), f"{name}.bias": torch.zeros(INNER)}
        state[f"{attention}to_q.weight"] = linear(64, INNER)
        state[f"{attention}to_kv.weight"] = linear(128, INNER)
        state[f"{attention}to_out.weight"] = linear(INNER, 64)
        state[f"{forward}1.weight"] = linear(4 * INNER, INNER)
        state[f"{forward}3.weight"] = linear(INNER, 4 * INNER)
    return state
