"""Fits the linear preview decoder of `models/starter-image`: from a latent cell to a patch of pixels.

Run `python -m training.fit_previews [--model FOLDER]`; takes half a minute. It writes `latent_rgb.safetensors` next to
the weights: `weight`, (3 x side x side, channels), and `bias`, (3 x side x side), float32, to RGB in [-1, 1], in the
order of `torch.nn.functional.pixel_shuffle`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from training.scenes import SceneSampler, render_batch

ROOT = Path(__file__).resolve().parent.parent
SIDE = 8
"""Preview pixels per side of a latent cell."""
DECODER_FILE = "latent_rgb.safetensors"


def make_training_pairs(vae: AutoencoderKL, batches: int, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents, (cells, channels), and their pixels, (cells, 3 x side x side)."""
    rng = np.random.default_rng(seed)
    sampler = SceneSampler()
    latents, patches = [], []
    for _ in range(batches):
        pixels, _ = render_batch(sampler, rng, 32)
        with torch.no_grad():
            encoded = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        small = torch.nn.functional.adaptive_avg_pool2d(pixels, encoded.shape[-1] * side)
        unshuffled = torch.nn.functional.pixel_unshuffle(small, side)
        latents.append(encoded.permute(0, 2, 3, 1).flatten(0, 2))
        patches.append(unshuffled.permute(0, 2, 3, 1).flatten(0, 2))
    return torch.cat(latents), torch.cat(patches)


def fit_linear_map(latents: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares: weight, (values, channels), and bias, (values,)."""
    inputs = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, patches).solution
    return solution[:-1].T.contiguous(), solution[-1].contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "starter-image")
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(options.model / "vae", local_files_only=True).float().eval()
    weight, bias = fit_linear_map(*make_training_pairs(vae, options.batches, SIDE, seed=0))
    latents, patches = make_training_pairs(vae, 4, SIDE, seed=1)
    error = (latents @ weight.T + bias - patches).abs().mean()
    save_file({"weight": weight, "bias": bias}, options.model / DECODER_FILE)
    print(f"mean absolute error on other scenes: {float(error) * 127.5:.1f} of 255 levels")


if __name__ == "__main__":
    main()
