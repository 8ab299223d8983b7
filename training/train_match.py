"""Trains `models/starter-match`: image-text matching with the vision encoder of `models/starter-vision`.

Run `python -m training.train_match`, after the vision model. Interrupted runs resume.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Blip2ForConditionalGeneration

from training.match import MatchLoss, build_match_processor, build_matcher
from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun
from training.train_image import copy_artwork_licence
from training.train_vision import reconstruct_scenes
from training.vision_data import VisionDataset


@dataclass(frozen=True)
class MatchRecipe:
    plan: TrainingPlan
    batch: int = 96
    reconstructed_count: int = 3000


FULL = MatchRecipe(
    plan=TrainingPlan(steps=3000, learning_rate=6e-4, average_decay=0.995, save_every=200, decay_share=0.6)
)
QUICK = MatchRecipe(plan=TrainingPlan(steps=2, learning_rate=1e-3), batch=4, reconstructed_count=0)


def train_match_model(recipe: MatchRecipe, runs: Path, folder: Path, image_model: Path, vision_model: Path) -> float:
    """Train and save model and processor; returns the seconds spent."""
    torch.manual_seed(0)
    processor = build_match_processor()
    vision = Blip2ForConditionalGeneration.from_pretrained(vision_model, dtype=torch.float32)
    model = build_matcher(vision, processor).train()
    reconstructions = (
        reconstruct_scenes(image_model, recipe.reconstructed_count) if recipe.reconstructed_count else None
    )
    loss = MatchLoss(model, processor, VisionDataset(reconstructions), recipe.batch)
    seconds = TrainingRun("match", model, recipe.plan, runs).train(loss)
    model.eval().half().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "easel.json").write_text(json.dumps({"demo": True}, indent=2) + "\n")
    copy_artwork_licence(folder)
    return seconds


if __name__ == "__main__":
    run_recipe("match", train_match_model, quick=QUICK, full=FULL, description=__doc__, models=("image", "vision"))
