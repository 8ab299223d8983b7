"""The two models of the engine benchmarks: one whose steps are mostly overhead, one whose steps are mostly compute."""

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
class ModelShape:
    """A model's folder, and the side of its images in pixels."""

    name: str
    folder: Path
    size: int
    is_compute_bound: bool = False


OVERHEAD = ModelShape("starter", STARTER, 128)
"""7.4 million parameters over 8 x 8 latents."""


@contextmanager
def compute_bound_shape() -> Iterator[ModelShape]:
    """A UNet of 22.6 million parameters over 32 x 32 latents, with random weights, in the published layout."""
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        folder = Path(scratch) / "medium"
        # In a separate process: this one does not import torch, like the server.
        subprocess.run([sys.executable, "-m", "benchmarks.shapes", str(folder)], cwd=ROOT, check=True)
        yield ModelShape("medium", folder, 256, is_compute_bound=True)


@contextmanager
def open_shape(name: str) -> Iterator[ModelShape]:
    if name == OVERHEAD.name:
        yield OVERHEAD
    else:
        with compute_bound_shape() as shape:
            yield shape


def parameter_millions(*models: Any) -> float:
    """Millions of parameters of all models together."""
    return float(sum(weights.numel() for model in models for weights in model.parameters())) / 1e6


def _save_model(folder: Path) -> None:
    """The starter's tokenizer and sampler, with a larger denoiser and a decoder of four channels."""
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
    print(f"denoiser: {parameter_millions(unet):.1f} million parameters", file=sys.stderr)


if __name__ == "__main__":
    _save_model(Path(sys.argv[1]))
