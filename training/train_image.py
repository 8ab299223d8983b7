"""Trains `models/starter-image` from nothing: autoencoder, denoiser, sharper decoder.

Run `python -m training.train_image`. Stopped runs go on where they were, from `.training/`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import PreTrainedTokenizerFast

from training.artwork import FILE
from training.autoencoder import AutoencoderLoss, build_autoencoder
from training.denoiser import PROMPT_LENGTH, Drawer, DrawerLoss, Latents, build_scheduler
from training.runs import Plan, Run
from training.scenes import SceneChooser
from training.words import build_tokenizer, prompt_words
from training.world import SIZE

ARTWORK = FILE.parent
STEPS = 12
GUIDANCE_SCALE = 2.0
MOSTLY_OBJECTS = 0.92
"""The share of objects that the autoencoder learns from: shapes are easy."""


@dataclass(frozen=True)
class Recipe:
    """How much of everything one training takes."""

    autoencoder: Plan
    crop_steps: int
    decoder: Plan
    decoder_crop_steps: int
    drawer: Plan
    other_scenes: int
    every_scene: int = 1
    picture_batch: int = 32
    drawer_batch: int = 64


FULL = Recipe(
    autoencoder=Plan(steps=3450, learning_rate=1.5e-3, average=0.995, fall=0.3),
    crop_steps=3250,
    decoder=Plan(steps=1500, learning_rate=1e-3, average=0.995, seed=1, fall=0.5),
    decoder_crop_steps=1300,
    drawer=Plan(steps=11_000, learning_rate=1e-3, warm_up=200, average=0.998, save_every=200, fall=0.3),
    other_scenes=24_000,
)
QUICK = Recipe(
    autoencoder=Plan(steps=2, learning_rate=1e-3, save_every=1),
    crop_steps=1,
    decoder=Plan(steps=2, learning_rate=1e-3, save_every=1),
    decoder_crop_steps=1,
    picture_batch=2,
    drawer=Plan(steps=2, learning_rate=1e-3, save_every=1),
    drawer_batch=2,
    other_scenes=2,
    every_scene=3000,
)


def train(recipe: Recipe, runs: Path, folder: Path) -> dict[str, float]:
    """Train both parts and save the pipeline; returns seconds by part."""
    torch.manual_seed(0)
    autoencoder, first = train_autoencoder(recipe, runs)
    latents = Latents(autoencoder, recipe.other_scenes, runs / "latents.pt", recipe.every_scene)
    autoencoder.register_to_config(scaling_factor=latents.scaling)
    tokenizer = build_tokenizer(prompt_words(), PROMPT_LENGTH, ends=True)
    drawer = Drawer(tokenizer)
    loss = DrawerLoss(drawer, tokenizer, latents, recipe.drawer_batch)
    second = Run("drawer", drawer, recipe.drawer, runs).finish(loss)
    third = sharpen(autoencoder, recipe, runs)
    save(autoencoder, drawer, tokenizer, folder)
    return {"autoencoder": round(first), "drawer": round(second), "decoder": round(third)}


def train_autoencoder(recipe: Recipe, runs: Path) -> tuple[AutoencoderKL, float]:
    """Train the autoencoder, or take it up where it was; returns it and the seconds spent."""
    autoencoder = build_autoencoder()
    loss = AutoencoderLoss(autoencoder, SceneChooser(objects=MOSTLY_OBJECTS), recipe.crop_steps, recipe.picture_batch)
    seconds = Run("autoencoder", autoencoder, recipe.autoencoder, runs).finish(loss)
    return autoencoder.requires_grad_(False).eval(), seconds


def sharpen(autoencoder: AutoencoderKL, recipe: Recipe, runs: Path) -> float:
    """Train the decoder on, with latents as they are; returns the seconds spent."""
    for part in (autoencoder.decoder, autoencoder.post_quant_conv):
        part.requires_grad_(True)
    chooser = SceneChooser(objects=MOSTLY_OBJECTS)
    loss = AutoencoderLoss(autoencoder, chooser, recipe.decoder_crop_steps, recipe.picture_batch)
    seconds = Run("decoder", autoencoder, recipe.decoder, runs).finish(loss)
    autoencoder.requires_grad_(False)
    return seconds


def save(autoencoder: AutoencoderKL, drawer: Drawer, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write an ordinary Stable Diffusion folder, and what Easel should know of it beside."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=drawer.text_encoder.eval().half(),
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
    ship_licence(folder)


def ship_licence(folder: Path) -> None:
    """Lay the licence of the artwork, and whose it is, beside weights that were trained on it."""
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ARTWORK / name, folder / f"ARTWORK-{name}")


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
