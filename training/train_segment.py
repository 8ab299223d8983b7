"""Trains `models/starter-segment` from scratch: masks from words, in CLIPSeg's layout.

Run `python -m training.train_segment`, after the image model: some of the images pass through its autoencoder, as
generated ones do. An interrupted run resumes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from training.recipe_command import run_recipe
from training.runs import TrainingPlan, TrainingRun
from training.segment import MIN_CONFIDENCE, SegmentLoss, build_segment_processor, build_segmenter
from training.segment_data import MaskDataset
from training.train_image import copy_artwork_licence


@dataclass(frozen=True)
class SegmentRecipe:
    plan: TrainingPlan
    batch: int = 32


FULL = SegmentRecipe(
    plan=TrainingPlan(steps=9000, learning_rate=1e-3, warm_up=300, average_decay=0.998, save_every=100, decay_share=0.5)
)
QUICK = SegmentRecipe(plan=TrainingPlan(steps=2, learning_rate=1e-3, save_every=1), batch=2)


def train_segment_model(recipe: SegmentRecipe, runs: Path, folder: Path, image_model: Path) -> float:
    """Train and save model and processor; returns the seconds spent."""
    torch.manual_seed(0)
    processor = build_segment_processor()
    model = build_segmenter(processor).train()
    autoencoder = AutoencoderKL.from_pretrained(image_model, subfolder="vae", dtype=torch.float32).eval()
    loss = SegmentLoss(model, processor, MaskDataset(autoencoder=autoencoder), recipe.batch)
    seconds = TrainingRun("segment", model, recipe.plan, runs).train(loss)
    model.eval().half().save_pretrained(folder)
    build_segment_processor().save_pretrained(folder)  # a new one: the training's would keep its truncation
    (folder / "easel.json").write_text(json.dumps({"demo": True, "min_confidence": MIN_CONFIDENCE}, indent=2) + "\n")
    copy_artwork_licence(folder)
    return seconds


if __name__ == "__main__":
    run_recipe("segment", train_segment_model, quick=QUICK, full=FULL, description=__doc__, models=("image",))
