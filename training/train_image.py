"""Trains `models/starter-image` from nothing: autoencoder, denoiser, sharper decoder.

Run `python -m training.train_image`. Stopped runs go on where they were, from `.training/`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import PreTrainedTokenizerFast

from training.autoencoder import AutoencoderLoss, build_autoencoder
from training.denoiser import PROMPT_LENGTH, Drawer, DrawerLoss, Latents, build_scheduler
from training.runs import Plan, Run
from training.scenes import Scenes
from training.words import build_tokenizer, prompt_words
from training.world import SIZE

STEPS = 12
GUIDANCE_SCALE = 2.0


@dataclass(frozen=True)
class Recipe:
    """How much of everything one training takes."""

    autoencoder: Plan
    crop_steps: int
    decoder: Plan
    decoder_crop_steps: int
    drawer: Plan
    heights: int
    picture_batch: int = 32
    drawer_batch: int = 32


FULL = Recipe(
    autoencoder=Plan(steps=800, learning_rate=1.5e-3, average=0.995),
    crop_steps=620,
    decoder=Plan(steps=400, learning_rate=1e-3, average=0.995, seed=1),
    decoder_crop_steps=350,
    drawer=Plan(steps=3100, learning_rate=8e-4, average=0.995, save_every=50),
    heights=13,
)
QUICK = Recipe(
    autoencoder=Plan(steps=2, learning_rate=1e-3, save_every=1),
    crop_steps=1,
    decoder=Plan(steps=2, learning_rate=1e-3, save_every=1),
    decoder_crop_steps=1,
    picture_batch=2,
    drawer=Plan(steps=2, learning_rate=1e-3, save_every=1),
    drawer_batch=2,
    heights=1,
)


def train(recipe: Recipe, runs: Path, folder: Path) -> dict[str, float]:
    """Train both parts and save the pipeline; returns seconds by part."""
    torch.manual_seed(0)
    scenes = Scenes()
    autoencoder, first = train_autoencoder(recipe, scenes, runs)
    latents = Latents(autoencoder, scenes, recipe.heights)
    autoencoder.register_to_config(scaling_factor=latents.scaling)
    tokenizer = build_tokenizer(prompt_words(), PROMPT_LENGTH, ends=True)
    drawer = Drawer(tokenizer)
    loss = DrawerLoss(drawer, tokenizer, scenes, latents, recipe.drawer_batch)
    second = Run("drawer", drawer, recipe.drawer, runs).finish(loss)
    third = sharpen(autoencoder, recipe, scenes, runs)
    save(autoencoder, drawer, tokenizer, folder)
    return {"autoencoder": round(first), "drawer": round(second), "decoder": round(third)}


def train_autoencoder(recipe: Recipe, scenes: Scenes, runs: Path) -> tuple[AutoencoderKL, float]:
    """Train the autoencoder, or take it up where it was; returns it and the seconds spent."""
    autoencoder = build_autoencoder()
    loss = AutoencoderLoss(autoencoder, scenes, recipe.crop_steps, recipe.picture_batch)
    seconds = Run("autoencoder", autoencoder, recipe.autoencoder, runs).finish(loss)
    return autoencoder.requires_grad_(False).eval(), seconds


def sharpen(autoencoder: AutoencoderKL, recipe: Recipe, scenes: Scenes, runs: Path) -> float:
    """Train the decoder on, with latents as they are; returns the seconds spent."""
    for part in (autoencoder.decoder, autoencoder.post_quant_conv):
        part.requires_grad_(True)
    loss = AutoencoderLoss(autoencoder, scenes, recipe.decoder_crop_steps, recipe.picture_batch)
    seconds = Run("decoder", autoencoder, recipe.decoder, runs).finish(loss)
    autoencoder.requires_grad_(False)
    return seconds


def save(autoencoder: AutoencoderKL, drawer: Drawer, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write an ordinary Stable Diffusion folder, and what Easel should know of it beside."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=drawer.text_encoder.eval(),
        tokenizer=tokenizer,
        unet=drawer.unet.eval().half(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    notes = {
        "demo": True,
        "steps": STEPS,
        "guidance_scale": GUIDANCE_SCALE,
        "width": SIZE,
        "height": SIZE,
    }
    (folder / "easel.json").write_text(json.dumps(notes, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps, to a temporary folder")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/starter-image"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix="starter-image-"))
        seconds = train(QUICK, folder / "runs", folder / "model")
        print(f"saved {folder / 'model'}")
    else:
        seconds = train(FULL, options.runs, options.out)
    print(f"seconds: {json.dumps(seconds)}")


if __name__ == "__main__":
    main()
