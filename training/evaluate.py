"""Marks the starter models on scenes that none of them has seen, and prints a table.

Run `python -m training.evaluate`. Pictures are judged by pixels and by the independent classifier (see
`training.judge`), answers by what the scene holds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image, StableDiffusionPipeline
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval, Blip2Processor

from training import classifier
from training.draw import render
from training.judge import Judge, Marks
from training.questions import TEMPLATE, Asker, whereabouts
from training.scenes import COUNTED, KINDS, PAIRED, PLAIN, scene_of
from training.world import COUNTS, Scene, all_things, held_out, is_held_out, is_visible

BACKGROUND = "what color is the background?"
SHAPE = "what shape is this?"
THING = "what is this?"
Pictures = list[Image.Image]
CHOICES = 100
"""How many captions the right one has to beat, itself included."""


class Looker:
    """Asks the vision model as Easel does."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = Blip2Processor.from_pretrained(folder)
        self.model.eval()

    @torch.no_grad()
    def ask(self, pictures: Pictures, question: str) -> list[str]:
        """One answer for each picture."""
        texts = [TEMPLATE.format(question=question)] * len(pictures)
        given = self.processor(images=pictures, text=texts, padding=True, return_tensors="pt")
        ids = self.model.generate(**given, max_new_tokens=16)[:, given.input_ids.shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]

    @torch.no_grad()
    def caption(self, pictures: Pictures) -> list[str]:
        """What each picture shows, unasked."""
        given = self.processor(images=pictures, return_tensors="pt")
        ids = self.model.generate(**given, max_new_tokens=20)
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


class Matcher:
    """Says how well captions fit pictures."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = Blip2Processor.from_pretrained(folder)

    @torch.no_grad()
    def fits(self, picture: Image.Image, captions: list[str]) -> torch.Tensor:
        """One number for each caption, the higher the better."""
        given = self.processor(images=picture, text=captions, padding="longest", return_tensors="pt")
        scores: torch.Tensor = self.model(**given).logits_per_image[0]
        return scores


def draw_all(
    pipeline: StableDiffusionPipeline, asked: Sequence[Scene], notes: dict[str, Any]
) -> tuple[Pictures, float]:
    """One picture of each scene by its plainest wording, seeded by its place, and seconds per picture."""
    pipeline.set_progress_bar_config(disable=True)
    began = time.monotonic()
    pictures = [
        pipeline(
            scene.caption,
            num_inference_steps=notes["steps"],
            guidance_scale=notes["guidance_scale"],
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        for seed, scene in enumerate(asked)
    ]
    return pictures, (time.monotonic() - began) / max(1, len(asked))


def held_out_of(kind: str, count: int) -> list[Scene]:
    """Held-out scenes of a kind, always the same ones."""
    if kind == PLAIN:
        return list(held_out()[:count])
    rng = np.random.default_rng([7, KINDS.index(kind)])
    scenes: list[Scene] = []
    while len(scenes) < count:
        plain = held_out()[int(rng.integers(len(held_out())))]
        other = all_things()[int(rng.integers(len(all_things())))]
        if other == plain.thing or not is_visible(other, plain.background):
            continue
        scene = scene_of(kind, plain.thing, other, plain.background, rng)
        if is_held_out(scene):
            scenes.append(scene)
    return scenes


def mark_pictures(judge: Judge, pictures: Pictures, asked: Sequence[Scene]) -> dict[str, str]:
    """How many pictures are right, by point; objects and shapes apart."""
    marks = [judge.marks(np.asarray(p), scene) for p, scene in zip(pictures, asked, strict=True)]
    objects = [m for m, scene in zip(marks, asked, strict=True) if not scene.thing.colour]
    shapes = [m for m, scene in zip(marks, asked, strict=True) if scene.thing.colour]
    return {
        "background": _of(m["background"] for m in marks),
        "object": _of(m["thing"] for m in objects),
        "object in five": _of(m["thing in five"] for m in objects),
        "shape with its colour": _of(m["thing"] and m["colour"] for m in shapes),
        "place": _of(m["place"] for m in marks),
    }


def mark_scenes(judge: Judge, pictures: Pictures, asked: Sequence[Scene]) -> dict[str, str]:
    """How many pictures of other kinds of scene are right: all things, and all points."""
    marks: list[Marks] = [judge.marks(np.asarray(p), scene) for p, scene in zip(pictures, asked, strict=True)]
    points = ("background", "thing", "colour", "place")
    return {
        "every thing": _of(m["thing"] and m["colour"] for m in marks),
        "everything": _of(all(m[point] for point in points) for m in marks),
    }


def mark_answers(looker: Looker, pictures: Pictures, asked: Sequence[Scene]) -> dict[str, str]:
    """What the vision model gets right about plain scenes."""
    things, grounds = looker.ask(pictures, THING), looker.ask(pictures, BACKGROUND)
    shapes, captions = looker.ask(pictures, SHAPE), looker.caption(pictures)
    rows = list(zip(asked, things, grounds, shapes, captions, strict=True))
    return {
        "object": _of(thing == s.subject for s, thing, *_ in rows if not s.thing.colour),
        "coloured shape": _of(thing == s.subject for s, thing, *_ in rows if s.thing.colour),
        "thing": _of(thing == s.subject for s, thing, *_ in rows),
        "background": _of(ground == s.background for s, _, ground, *_ in rows),
        "shape": _of(shape == s.thing.name for s, _, _, shape, _ in rows if s.thing.colour),
        "caption": _of(caption == s.caption for s, *_, caption in rows),
    }


def mark_questions(looker: Looker, judge_seed: int, scenes: Sequence[Scene]) -> dict[str, str]:
    """Questions to answer yes or no (as often the one as the other), how many, and where, on true renders."""
    asker = Asker(np.random.default_rng(judge_seed))
    pictures = [Image.fromarray(render(scene)) for scene in scenes]
    yes_or_no, count, place = [], [], []
    for scene, picture in zip(scenes, pictures, strict=True):
        asked = asker.yes_or_no(scene)
        yes_or_no.append(looker.ask([picture], asked.question)[0] == asked.answer)
        if not scene.is_pair:
            said = looker.ask([picture], f"how many {scene.thing.several} are there?")[0]
            count.append(said == COUNTS[len(scene.things) - 1])
        if len(scene.things) == 1:
            place.append(looker.ask([picture], f"where is the {scene.thing.name}?")[0] == whereabouts(scene))
    return {"yes or no": _of(yes_or_no), "how many": _of(count), "where": _of(place)}


def mark_matches(matcher: Matcher, scenes: Sequence[Scene]) -> str:
    """How often the right caption of a hundred comes first."""
    captions = [scene.caption for scene in scenes[:CHOICES]]
    firsts = [
        int(matcher.fits(Image.fromarray(render(scene)), captions).argmax()) == place
        for place, scene in enumerate(scenes[:CHOICES])
    ]
    return _of(firsts)


def contact_sheet(pictures: Pictures, columns: int = 20) -> Image.Image:
    """All pictures on one sheet."""
    side = pictures[0].width
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * side, i // columns * side))
    return sheet


def evaluate(models: Path, prompts: int, others: int, sheet: Path | None) -> dict[str, Any]:
    """Mark the models that are there; returns the table."""
    judge, asked = Judge(), {kind: held_out_of(kind, prompts if kind == PLAIN else others) for kind in KINDS}
    real = [Image.fromarray(render(scene)) for scene in asked[PLAIN]]
    table: dict[str, Any] = {"held-out prompts": prompts, "true renders": mark_pictures(judge, real, asked[PLAIN])}
    table["true renders"]["classifier"] = classifier.accuracy(judge.model, held_out())
    looker = Looker(models / "starter-vision") if (models / "starter-vision").exists() else None
    if (models / "starter-image").exists():
        table["starter-image"] = _mark_image_model(models / "starter-image", judge, asked, sheet, looker)
    if looker:
        mixed = [*asked[PLAIN], *asked[COUNTED], *asked[PAIRED], *asked["spotted"]]
        table["starter-vision"] = mark_answers(looker, real, asked[PLAIN]) | mark_questions(looker, 3, mixed)
    if (models / "starter-match").exists():
        table["starter-match"] = {"first of 100": mark_matches(Matcher(models / "starter-match"), asked[PLAIN])}
    return table


def _mark_image_model(
    folder: Path, judge: Judge, asked: dict[str, list[Scene]], sheet: Path | None, looker: Looker | None
) -> dict[str, Any]:
    notes = json.loads((folder / "easel.json").read_text())
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    drawn = {kind: draw_all(pipeline, scenes, notes) for kind, scenes in asked.items()}
    if sheet:
        contact_sheet([picture for pictures, _ in drawn.values() for picture in pictures]).save(sheet)
    marks: dict[str, Any] = {"steps": notes["steps"], "guidance_scale": notes["guidance_scale"]}
    marks["seconds per picture"] = round(drawn[PLAIN][1], 2)
    marks |= mark_pictures(judge, drawn[PLAIN][0], asked[PLAIN])
    marks |= {kind: mark_scenes(judge, drawn[kind][0], asked[kind]) for kind in KINDS if kind != PLAIN}
    if looker:
        marks["starter-vision agrees"] = mark_answers(looker, drawn[PLAIN][0], asked[PLAIN])
    return marks


def _of(right: Any) -> str:
    """`285 of 300`, and the share."""
    marks = [bool(mark) for mark in right]
    return f"{sum(marks)} of {len(marks)} ({100 * sum(marks) / max(1, len(marks)):.1f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--others", type=int, default=40, help="scenes of each other kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="also save the pictures as one sheet")
    parser.add_argument("--out", type=Path, default=Path("models/EVALUATION.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = evaluate(options.models, options.prompts, options.others, options.sheet)
    options.out.write_text(json.dumps(table, indent=2) + "\n")
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
