"""The two models of the engines' benchmarks: one whose steps are mostly overhead, one whose steps are arithmetic."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT

STARTER = ROOT / "models" / "starter-image"


@dataclass(frozen=True)
class Shape:
    """A model's folder, and the side of its pictures in pixels."""

    name: str
    folder: Path
    size: int
    is_compute_bound: bool = False


OVERHEAD = Shape("starter", STARTER, 128)
"""7.4 million parameters over 8 x 8 latents."""


@contextmanager
def compute_bound() -> Iterator[Shape]:
    """A UNet of 22.6 million parameters over 32 x 32 latents, random weights, saved as any model is published."""
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        folder = Path(scratch) / "medium"
        # In a process of its own: this one stays without torch, as the server's does.
        subprocess.run([sys.executable, "-m", "benchmarks.shapes", str(folder)], cwd=ROOT, check=True)
        yield Shape("medium", folder, 256, is_compute_bound=True)


@contextmanager
def chosen(name: str) -> Iterator[Shape]:
    if name == OVERHEAD.name:
        yield OVERHEAD
    else:
        with compute_bound() as shape:
            yield shape


def millions(*models: Any) -> float:
    """Of parameters, of all of them together."""
    return float(sum(weights.numel() for model in models for weights in model.parameters())) / 1e6


def _save(folder: Path) -> None:
    """The starter's words and sampler, with a larger denoiser and a decoder of four channels."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(STARTER, dtype=torch.float32, use_safetensors=True)
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(96, 192, 320),
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=pipeline.text_encoder.config.hidden_size,
        attention_head_dim=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 32, 64),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    pipeline.register_modules(unet=unet, vae=vae)
    pipeline.save_pretrained(folder)
    print(f"denoiser: {millions(unet):.1f} million parameters", file=sys.stderr)


if __name__ == "__main__":
    _save(Path(sys.argv[1]))
