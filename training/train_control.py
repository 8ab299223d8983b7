"""Trains `models/starter-control`: a ControlNet on outlines for `models/starter-image`.

Run `python -m training.train_control`. An interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from training.control import ControlLoss, FrozenImageModel, build_controlnet
from training.runs import TrainingPlan, TrainingRun
from training.train_image import copy_artwork_licence


@dataclass(frozen=True)
class ControlRecipe:
    plan: TrainingPlan
    batch: int = 32


FULL = ControlRecipe(
    plan=TrainingPlan(steps=4500, learning_rate=6e-4, warm_up=200, average_decay=0.998, save_every=100, decay_share=0.5)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps, to a temporary folder")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/starter-control"))
    parser.add_argument("--image-model", type=Path, default=Path("models/starter-image"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix="starter-control-"))
        seconds = train_control_model(QUICK, folder / "runs", folder / "model", options.image_model)
        print(f"saved {folder / 'model'}")
    else:
        seconds = train_control_model(FULL, options.runs, options.out, options.image_model)
    print(f"seconds: {seconds:.0f}")


if __name__ == "__main__":
    main()
