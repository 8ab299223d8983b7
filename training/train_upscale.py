"""Trains `models/starter-upscale` from scratch: four times the size, in SRVGGNetCompact's layout.

Run `python -m training.photographs` first, then `python -m training.train_upscale`. An interrupted run resumes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.photographs import FOLDER, load_photographs
from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun
from training.train_image import copy_artwork_licence
from training.upscale import CompactUpscaler, UpscaleDataset, UpscaleLoss, render_scenes


@dataclass(frozen=True)
class UpscaleRecipe:
    """`renders`: how many scenes are rendered for the training."""

    plan: TrainingPlan
    batch: int = 8
    renders: int = 200
    photographs: Path = FOLDER


FULL = UpscaleRecipe(
    plan=TrainingPlan(
        steps=4000, learning_rate=1e-3, average_decay=0.998, weight_decay=0.0, save_every=200, decay_share=0.5
    )
)
QUICK = UpscaleRecipe(plan=TrainingPlan(steps=2, learning_rate=1e-3, save_every=1), batch=2, renders=2)


def train_upscale_model(recipe: UpscaleRecipe, runs: Path, folder: Path) -> float:
    """Train and save the model; returns the seconds spent. Without photographs it learns from renders alone."""
    torch.manual_seed(0)
    model = CompactUpscaler().train()
    photographs = load_photographs(recipe.photographs) if recipe.photographs.is_dir() else []
    dataset = UpscaleDataset(photographs, render_scenes(recipe.renders, seed=0))
    seconds = TrainingRun("upscale", model, recipe.plan, runs).train(UpscaleLoss(model, dataset, recipe.batch))
    save_upscaler(model, folder)
    return seconds


def save_upscaler(model: CompactUpscaler, folder: Path) -> None:
    """Weights in half precision, configuration and licences."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"architectures": ["SRVGGNetCompact"]}, indent=2) + "\n")
    (folder / "easel.json").write_text(json.dumps({"demo": True}, indent=2) + "\n")
    copy_artwork_licence(folder)


if __name__ == "__main__":
    run_recipe("upscale", train_upscale_model, quick=QUICK, full=FULL, description=__doc__)
