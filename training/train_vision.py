"""Trains `models/starter-vision` from nothing, on drawn pictures and on rebuilt ones.

Run `python -m training.train_vision`, after the image model: a third of the pictures pass through
its autoencoder, so that the model sees what it will be asked about. Stopped runs go on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import Blip2ForConditionalGeneration, Blip2Processor, GenerationConfig

from training.looker import AnswersLoss, LookerLoss, build_looker, build_processor
from training.questions import TEMPLATE
from training.runs import Plan, Run, fast_arithmetic
from training.scenes import draw_batch
from training.sight import SightLoss, Student
from training.train_image import ship_licence
from training.vision_data import Decoded, Views, shrink
from training.world import Scene

MAX_NEW_TOKENS = 16


@dataclass(frozen=True)
class Recipe:
    """How much of everything one training takes."""

    sight: Plan
    plan: Plan
    answers: Plan
    looked: int = 6400
    batch: int = 64
    texts: int = 5
    decoded: int = 2500


FULL = Recipe(
    sight=Plan(steps=2400, learning_rate=6e-4, average=0.995, fall=0.5),
    plan=Plan(steps=3000, learning_rate=6e-4, average=0.995, save_every=200, fall=0.6),
    answers=Plan(steps=2500, learning_rate=1e-3, average=0.995, seed=1),
)
QUICK = Recipe(
    sight=Plan(steps=2, learning_rate=1e-3, save_every=1),
    plan=Plan(steps=2, learning_rate=1e-3, save_every=1),
    answers=Plan(steps=2, learning_rate=1e-3, save_every=1),
    looked=2,
    batch=2,
    texts=2,
    decoded=0,
)
SIGHT_SHARE = 0.5
"""What seeing still counts for while speaking is learned."""


def train(recipe: Recipe, runs: Path, folder: Path, image_model: Path) -> float:
    """Train and save model and processor; returns the seconds spent."""
    torch.manual_seed(0)
    processor = build_processor()
    student = Student(build_looker(processor.tokenizer)).train()
    decoded = rebuild_scenes(image_model, recipe.decoded) if recipe.decoded else None
    views = Views(decoded)
    sight = SightLoss(student, views, recipe.batch)
    seconds = Run("sight", student, recipe.sight, runs).finish(sight)
    speech = LookerLoss(student.model, processor.tokenizer, views, recipe.batch // 2, recipe.texts)
    both = Run("looker", student, recipe.plan, runs)
    seconds += both.finish(lambda step, rng: speech(step, rng) + SIGHT_SHARE * sight(step, rng))
    answers = AnswersLoss(student.model, processor.tokenizer, views, recipe.looked)
    seconds += Run("answers", student, recipe.answers, runs).finish(answers)
    model = student.model
    save(model.eval(), processor, folder)
    return seconds


@torch.no_grad()
def rebuild_scenes(image_model: Path, count: int) -> Decoded:
    """Training scenes as the image model's autoencoder rebuilds them from noisy latents."""
    autoencoder = AutoencoderKL.from_pretrained(image_model, subfolder="vae", dtype=torch.float32).eval()
    chooser, rng = Views().chooser, np.random.default_rng(11)
    spread = 0.15 / float(autoencoder.config.scaling_factor)
    pictures: list[Tensor] = []
    shown: list[Scene] = []
    for start in range(0, count, 32):
        drawn, scenes = draw_batch(chooser, rng, min(32, count - start))
        with fast_arithmetic():
            latents = autoencoder.encode(drawn).latent_dist.mean
            latents = latents + spread * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
            rebuilt = autoencoder.decode(latents).sample.float()
        pictures.append(shrink(rebuilt.clamp(-1, 1)))
        shown += scenes
    return torch.cat(pictures), shown


def save(model: Blip2ForConditionalGeneration, processor: Blip2Processor, folder: Path) -> None:
    """Write an ordinary BLIP-2 folder, and what Easel should know of it beside."""
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
    ship_licence(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps, to a temporary folder")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/starter-vision"))
    parser.add_argument("--image-model", type=Path, default=Path("models/starter-image"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix="starter-vision-"))
        seconds = train(QUICK, folder / "runs", folder / "model", options.image_model)
        print(f"saved {folder / 'model'}")
    else:
        seconds = train(FULL, options.runs, options.out, options.image_model)
    print(f"seconds: {seconds:.0f}")


if __name__ == "__main__":
    main()
