"""Trains `models/starter-vision` from scratch, on rendered and on reconstructed images.

Run `python -m training.train_vision`, after the image model: a third of the images pass through its autoencoder, as
generated images do. Interrupted runs resume.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import Blip2ForConditionalGeneration, Blip2Processor, GenerationConfig

from training.questions import TEMPLATE
from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun, mixed_precision
from training.scenes import render_batch
from training.train_image import copy_artwork_licence
from training.vision_data import Reconstructions, VisionDataset, resize_images
from training.vision_model import LanguageLoss, QuestionLoss, build_processor, build_vision_model
from training.vision_pretraining import PretrainingLoss, PretrainingModel
from training.world import Scene

MAX_NEW_TOKENS = 16


@dataclass(frozen=True)
class VisionRecipe:
    pretraining: TrainingPlan
    language: TrainingPlan
    questions: TrainingPlan
    question_images: int = 6400
    batch: int = 64
    texts: int = 5
    reconstructed_count: int = 2500


FULL = VisionRecipe(
    pretraining=TrainingPlan(steps=2400, learning_rate=6e-4, average_decay=0.995, decay_share=0.5),
    language=TrainingPlan(steps=3000, learning_rate=6e-4, average_decay=0.995, save_every=200, decay_share=0.6),
    questions=TrainingPlan(steps=2500, learning_rate=1e-3, average_decay=0.995, seed=1),
)
QUICK = VisionRecipe(
    pretraining=TrainingPlan(steps=2, learning_rate=1e-3),
    language=TrainingPlan(steps=2, learning_rate=1e-3),
    questions=TrainingPlan(steps=2, learning_rate=1e-3),
    question_images=2,
    batch=2,
    texts=2,
    reconstructed_count=0,
)
PRETRAINING_LOSS_WEIGHT = 0.5
"""Weight of the pretraining loss while the language model is trained."""


def train_vision_model(recipe: VisionRecipe, runs: Path, folder: Path, image_model: Path) -> float:
    """Train and save model and processor; returns the seconds spent."""
    torch.manual_seed(0)
    processor = build_processor()
    trainee = PretrainingModel(build_vision_model(processor.tokenizer)).train()
    model, tokenizer = trainee.model, processor.tokenizer
    reconstructions = (
        reconstruct_scenes(image_model, recipe.reconstructed_count) if recipe.reconstructed_count else None
    )
    dataset = VisionDataset(reconstructions)
    vision = PretrainingLoss(trainee, dataset, recipe.batch)
    seconds = TrainingRun("pretraining", trainee, recipe.pretraining, runs).train(vision)
    language = LanguageLoss(model, tokenizer, dataset, recipe.batch // 2, recipe.texts)
    seconds += TrainingRun("language", trainee, recipe.language, runs).train(
        lambda step, rng: language(step, rng) + PRETRAINING_LOSS_WEIGHT * vision(step, rng)
    )
    questions = QuestionLoss(model, tokenizer, dataset, recipe.question_images)
    seconds += TrainingRun("questions", trainee, recipe.questions, runs).train(questions)
    save_model(model.eval(), processor, folder)
    return seconds


@torch.no_grad()
def reconstruct_scenes(image_model: Path, count: int) -> Reconstructions:
    """Training scenes, reconstructed by the image model's autoencoder from noisy latents."""
    autoencoder = AutoencoderKL.from_pretrained(image_model, subfolder="vae", dtype=torch.float32).eval()
    sampler, rng = VisionDataset().sampler, np.random.default_rng(11)
    noise_scale = 0.15 / float(autoencoder.config.scaling_factor)
    images: list[Tensor] = []
    scenes: list[Scene] = []
    for start in range(0, count, 32):
        renders, batch_scenes = render_batch(sampler, rng, min(32, count - start))
        with mixed_precision():
            latents = autoencoder.encode(renders).latent_dist.mean
            latents = latents + noise_scale * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
            reconstructed = autoencoder.decode(latents).sample.float()
        images.append(resize_images(reconstructed.clamp(-1, 1)))
        scenes += batch_scenes
    return torch.cat(images), scenes


def save_model(model: Blip2ForConditionalGeneration, processor: Blip2Processor, folder: Path) -> None:
    """Write an ordinary BLIP-2 folder, and `easel.json` with its defaults."""
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        max_new_tokens=MAX_NEW_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    notes = {"demo": True, "question_template": TEMPLATE, "max_new_tokens": MAX_NEW_TOKENS}
    (folder / "easel.json").write_text(json.dumps(notes, indent=2) + "\n")
    copy_artwork_licence(folder)


if __name__ == "__main__":
    run_recipe("vision", train_vision_model, quick=QUICK, full=FULL, description=__doc__, models=("image",))
