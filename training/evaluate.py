"""Marks both starter models on combinations neither has seen, and prints a table.

Run `python -m training.evaluate`. Pictures are judged by pixels (see `training.judge`), answers by
what the prompt asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image, StableDiffusionPipeline
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from training.judge import Judge
from training.questions import TEMPLATE
from training.world import Combination, held_out, random_scene, render

BACKGROUND = "what color is the background?"
SHAPE = "what shape is this?"
Marks = dict[str, bool]


class Looker:
    """Asks the vision model as Easel does."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = Blip2Processor.from_pretrained(folder)
        self.model.eval()

    @torch.no_grad()
    def ask(self, pictures: list[Image.Image], question: str) -> list[str]:
        """One answer for each picture."""
        texts = [TEMPLATE.format(question=question)] * len(pictures)
        given = self.processor(images=pictures, text=texts, padding=True, return_tensors="pt")
        ids = self.model.generate(**given, max_new_tokens=16)[:, given.input_ids.shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]

    @torch.no_grad()
    def caption(self, pictures: list[Image.Image]) -> list[str]:
        """What each picture shows, unasked."""
        given = self.processor(images=pictures, return_tensors="pt")
        ids = self.model.generate(**given, max_new_tokens=16)
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


def draw_all(
    pipeline: StableDiffusionPipeline, asked: list[Combination], steps: int, guidance: float
) -> tuple[list[Image.Image], float]:
    """One picture of each combination, seeded by its place, and seconds per picture."""
    pipeline.set_progress_bar_config(disable=True)
    began = time.monotonic()
    pictures = [
        pipeline(
            what.caption,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        for seed, what in enumerate(asked)
    ]
    return pictures, (time.monotonic() - began) / len(asked)


def mark_pictures(pictures: list[Image.Image], asked: list[Combination]) -> list[Marks]:
    """What pixels say of each picture, point by point."""
    judge = Judge()
    pairs = zip(pictures, asked, strict=True)
    return [judge.judge(np.asarray(picture)).agrees(what) for picture, what in pairs]


def mark_answers(looker: Looker, pictures: list[Image.Image], asked: list[Combination]) -> list[Marks]:
    """What the vision model gets right about each picture."""
    grounds, shapes = looker.ask(pictures, BACKGROUND), looker.ask(pictures, SHAPE)
    captions = looker.caption(pictures)
    return [
        {
            "answer: background": ground == what.background,
            "answer: shape": shape.removeprefix("a ").removeprefix("an ") == what.shape,
            "caption": caption == what.caption,
        }
        for ground, shape, caption, what in zip(grounds, shapes, captions, asked, strict=True)
    ]


def count(marks: list[Marks]) -> dict[str, int]:
    """How many are right, point by point."""
    return {name: sum(mark[name] for mark in marks) for name in marks[0]}


def contact_sheet(pictures: list[Image.Image], columns: int = 10) -> Image.Image:
    """All pictures on one sheet."""
    side = pictures[0].width
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * side, i // columns * side))
    return sheet


def evaluate(models: Path, combinations: int, sheet: Path | None) -> dict[str, object]:
    """Mark both models; returns the table."""
    notes = json.loads((models / "starter-image" / "easel.json").read_text())
    asked = held_out()[:combinations]
    pipeline = AutoPipelineForText2Image.from_pretrained(
        models / "starter-image", use_safetensors=True, dtype=torch.float32
    )
    pictures, seconds = draw_all(pipeline, asked, notes["steps"], notes["guidance_scale"])
    if sheet:
        contact_sheet(pictures).save(sheet)
    looker = Looker(models / "starter-vision")
    rng = np.random.default_rng(5)
    real = [Image.fromarray(render(random_scene(rng, [what]))) for what in asked]
    drawn, said = mark_pictures(pictures, asked), mark_answers(looker, pictures, asked)
    bar = [all(a.values()) and b["answer: background"] and b["answer: shape"] for a, b in zip(drawn, said, strict=True)]
    return {
        "held-out combinations": len(asked),
        "steps": notes["steps"],
        "guidance_scale": notes["guidance_scale"],
        "seconds per picture": round(seconds, 2),
        "everything holds": sum(bar),
        "drawn pictures": count(drawn) | count(said),
        "true pictures": count(mark_pictures(real, asked)) | count(mark_answers(looker, real, asked)),
        "failed": [what.caption for what, fine in zip(asked, bar, strict=True) if not fine],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--combinations", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="also save the pictures as one sheet")
    parser.add_argument("--out", type=Path, default=Path("models/EVALUATION.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = evaluate(options.models, options.combinations, options.sheet)
    options.out.write_text(json.dumps(table, indent=2) + "\n")
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
