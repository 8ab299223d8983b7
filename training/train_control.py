"""Trains `models/starter-control`: a ControlNet on outlines for `models/starter-image`.

Run `python -m training.train_control`. An interrupted run resumes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from training.control import ControlLoss, FrozenImageModel, build_controlnet
from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun
from training.train_image import copy_artwork_licence


@dataclass(frozen=True)
class ControlRecipe:
    plan: TrainingPlan
    batch: int = 32


FULL = ControlRecipe(
    plan=TrainingPlan(steps=3300, learning_rate=6e-4, warm_up=200, average_decay=0.998, save_every=100, decay_share=0.3)
)
QUICK = ControlRecipe(plan=TrainingPlan(steps=2, learning_rate=1e-3, save_every=1), batch=2)


def train_control_model(recipe: ControlRecipe, runs: Path, folder: Path, image_model: Path) -> float:
    """Train and save the ControlNet; returns the seconds spent."""
    torch.manual_seed(0)
    model = FrozenImageModel(image_model)
    controlnet = build_controlnet(model.unet).train()
    loss = ControlLoss(controlnet, model, recipe.batch)
    seconds = TrainingRun("control", controlnet, recipe.plan, runs).train(loss)
    controlnet.eval().half().save_pretrained(folder)
    (folder / "easel.json").write_text(json.dumps({"demo": True}, indent=2) + "\n")
    copy_artwork_licence(folder)
    return seconds


if __name__ == "__main__":
    run_recipe("control", train_control_model, quick=QUICK, full=FULL, description=__doc__, models=("image",))
