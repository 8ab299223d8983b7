"""Trains `models/starter-image` from scratch: autoencoder, denoiser, sharper decoder.

Run `python -m training.train_image`. Interrupted runs resume from `.training/`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import PreTrainedTokenizerFast

from training.artwork import ARTWORK_FILE
from training.autoencoder import AutoencoderLoss, build_autoencoder
from training.denoiser import PROMPT_LENGTH, DenoiserLoss, LatentTable, TextToImageModel, build_scheduler
from training.prompts import build_tokenizer, prompt_words
from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun
from training.scenes import SceneSampler
from training.world import SIZE

ARTWORK = ARTWORK_FILE.parent
STEPS = 12
GUIDANCE_SCALE = 2.0
MOSTLY_OBJECTS = 0.92
"""The share of objects in the autoencoder's training: shapes are easy."""


@dataclass(frozen=True)
class ImageRecipe:
    autoencoder: TrainingPlan
    crop_steps: int
    decoder: TrainingPlan
    decoder_crop_steps: int
    denoiser: TrainingPlan
    other_scenes: int
    scene_stride: int = 1
    autoencoder_batch: int = 32
    denoiser_batch: int = 64


FULL = ImageRecipe(
    autoencoder=TrainingPlan(steps=3450, learning_rate=1.5e-3, average_decay=0.995, decay_share=0.3),
    crop_steps=3250,
    decoder=TrainingPlan(steps=1500, learning_rate=1e-3, average_decay=0.995, seed=1, decay_share=0.5),
    decoder_crop_steps=1300,
    denoiser=TrainingPlan(
        steps=11_000, learning_rate=1e-3, warm_up=200, average_decay=0.998, save_every=200, decay_share=0.3
    ),
    other_scenes=24_000,
)
QUICK = ImageRecipe(
    autoencoder=TrainingPlan(steps=2, learning_rate=1e-3, save_every=1),
    crop_steps=1,
    decoder=TrainingPlan(steps=2, learning_rate=1e-3),
    decoder_crop_steps=1,
    autoencoder_batch=2,
    denoiser=TrainingPlan(steps=2, learning_rate=1e-3),
    denoiser_batch=2,
    other_scenes=2,
    scene_stride=3000,
)


def train_image_model(recipe: ImageRecipe, runs: Path, folder: Path) -> dict[str, float]:
    """Train autoencoder and denoiser and save the pipeline; returns seconds by stage."""
    torch.manual_seed(0)
    autoencoder, autoencoder_s = train_autoencoder(recipe, runs)
    latents = LatentTable(autoencoder, recipe.other_scenes, runs / "latents.pt", recipe.scene_stride)
    autoencoder.register_to_config(scaling_factor=latents.scaling)
    tokenizer = build_tokenizer(prompt_words(), PROMPT_LENGTH, adds_eos=True)
    model = TextToImageModel(tokenizer)
    loss = DenoiserLoss(model, tokenizer, latents, recipe.denoiser_batch)
    denoiser_s = TrainingRun("denoiser", model, recipe.denoiser, runs).train(loss)
    decoder_s = sharpen_decoder(autoencoder, recipe, runs)
    save_pipeline(autoencoder, model, tokenizer, folder)
    return {"autoencoder": round(autoencoder_s), "denoiser": round(denoiser_s), "decoder": round(decoder_s)}


def train_autoencoder(recipe: ImageRecipe, runs: Path) -> tuple[AutoencoderKL, float]:
    """Train the autoencoder, or resume its training; returns it and the seconds spent."""
    autoencoder = build_autoencoder()
    sampler = SceneSampler(objects=MOSTLY_OBJECTS)
    loss = AutoencoderLoss(autoencoder, sampler, recipe.crop_steps, recipe.autoencoder_batch)
    seconds = TrainingRun("autoencoder", autoencoder, recipe.autoencoder, runs).train(loss)
    return autoencoder.requires_grad_(False).eval(), seconds


def sharpen_decoder(autoencoder: AutoencoderKL, recipe: ImageRecipe, runs: Path) -> float:
    """Continue to train the decoder with the encoder frozen; returns the seconds spent."""
    for module in (autoencoder.decoder, autoencoder.post_quant_conv):
        module.requires_grad_(True)
    sampler = SceneSampler(objects=MOSTLY_OBJECTS)
    loss = AutoencoderLoss(autoencoder, sampler, recipe.decoder_crop_steps, recipe.autoencoder_batch)
    seconds = TrainingRun("decoder", autoencoder, recipe.decoder, runs).train(loss)
    autoencoder.requires_grad_(False)
    return seconds


def save_pipeline(
    autoencoder: AutoencoderKL, model: TextToImageModel, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write an ordinary Stable Diffusion folder, and `easel.json` with its defaults."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=model.text_encoder.eval().half(),
        tokenizer=tokenizer,
        unet=model.unet.eval().half(),
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
    copy_artwork_licence(folder)


def copy_artwork_licence(folder: Path) -> None:
    """Copy the artwork's licence and notice next to weights that were trained on it."""
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ARTWORK / name, folder / f"ARTWORK-{name}")


if __name__ == "__main__":
    run_recipe("image", train_image_model, quick=QUICK, full=FULL, description=__doc__)
