"""Trains `models/starter-match`: image-text matching with the vision encoder of `models/starter-vision`.

Run `python -m training.train_match`, after the vision model. Interrupted runs resume.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Blip2ForConditionalGeneration

from training.match import MatchLoss, build_match_processor, build_matcher
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps, to a temporary folder")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/starter-match"))
    parser.add_argument("--image-model", type=Path, default=Path("models/starter-image"))
    parser.add_argument("--vision-model", type=Path, default=Path("models/starter-vision"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = (options.image_model, options.vision_model)
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix="starter-match-"))
        seconds = train_match_model(QUICK, folder / "runs", folder / "model", *models)
        print(f"saved {folder / 'model'}")
    else:
        seconds = train_match_model(FULL, options.runs, options.out, *models)
    print(f"seconds: {seconds:.0f}")


if __name__ == "__main__":
    main()
