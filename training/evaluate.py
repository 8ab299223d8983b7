"""Evaluates the starter models on held-out scenes, and prints a table.

Run `python -m training.evaluate`. Images are judged by their pixels and by the independent classifier (see
`training.judge`), answers by the content of the scene.
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
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval, Blip2Processor

from training import classifier
from training.draw import render_scene
from training.evaluate_control import evaluate_control, load_pipeline
from training.evaluate_segment import RegionModel, evaluate_segment
from training.judge import ImageJudge, Marks
from training.questions import TEMPLATE, QuestionGenerator, location_phrase
from training.scenes import COUNTED, KINDS, PAIRED, PLAIN, SPOTTED, make_scene
from training.sheets import Images, contact_sheet
from training.world import COUNTS, Scene, all_things, held_out_scenes, is_held_out, is_visible

BACKGROUND_QUESTION = "what color is the background?"
SHAPE_QUESTION = "what shape is this?"
THING_QUESTION = "what is this?"
CAPTION_CHOICES = 100
"""Captions that each image is matched against, including the correct one."""


class VisionModel:
    """The trained vision model, prompted as Easel does."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = Blip2Processor.from_pretrained(folder)
        self.model.eval()

    @torch.no_grad()
    def answer_question(self, images: Images, question: str) -> list[str]:
        """One answer for each image."""
        texts = [TEMPLATE.format(question=question)] * len(images)
        inputs = self.processor(images=images, text=texts, padding=True, return_tensors="pt")
        ids = self.model.generate(**inputs, max_new_tokens=16)[:, inputs.input_ids.shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]

    @torch.no_grad()
    def caption_images(self, images: Images) -> list[str]:
        """One caption for each image."""
        inputs = self.processor(images=images, return_tensors="pt")
        ids = self.model.generate(**inputs, max_new_tokens=20)
        return [text.strip() for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


class MatchModel:
    """The trained image-text matching model."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = Blip2Processor.from_pretrained(folder)

    @torch.no_grad()
    def score_captions(self, image: Image.Image, captions: list[str]) -> torch.Tensor:
        """One score for each caption, the higher the better."""
        inputs = self.processor(images=image, text=captions, padding="longest", return_tensors="pt")
        scores: torch.Tensor = self.model(**inputs).logits_per_image[0]
        return scores


def generate_images(
    pipeline: StableDiffusionPipeline, scenes: Sequence[Scene], notes: dict[str, Any], batch: int = 1
) -> tuple[Images, float]:
    """One image per scene from its plainest wording, seeded by its index, and seconds per image."""
    pipeline.set_progress_bar_config(disable=True)
    started = time.monotonic()
    images: Images = []
    for start in range(0, len(scenes), batch):
        captions = [scene.caption for scene in scenes[start : start + batch]]
        images += pipeline(
            captions,
            num_inference_steps=notes["steps"],
            guidance_scale=notes["guidance_scale"],
            generator=[torch.Generator().manual_seed(start + number) for number in range(len(captions))],
        ).images
    return images, (time.monotonic() - started) / max(1, len(scenes))


def held_out_of_kind(kind: str, count: int) -> list[Scene]:
    """Held-out scenes of a kind, always the same ones."""
    if kind == PLAIN:
        return list(held_out_scenes()[:count])
    rng = np.random.default_rng([7, KINDS.index(kind)])
    scenes: list[Scene] = []
    while len(scenes) < count:
        plain = held_out_scenes()[int(rng.integers(len(held_out_scenes())))]
        other = all_things()[int(rng.integers(len(all_things())))]
        if other == plain.thing or not is_visible(other, plain.background):
            continue
        scene = make_scene(kind, plain.thing, other, plain.background, rng)
        if is_held_out(scene):
            scenes.append(scene)
    return scenes


def evaluate_images(judge: ImageJudge, images: Images, scenes: Sequence[Scene]) -> dict[str, str]:
    """How many images are correct, by criterion; objects and shapes separately."""
    marks = [judge.judge_image(np.asarray(p), scene) for p, scene in zip(images, scenes, strict=True)]
    objects = [m for m, scene in zip(marks, scenes, strict=True) if not scene.thing.colour]
    shapes = [m for m, scene in zip(marks, scenes, strict=True) if scene.thing.colour]
    return {
        "background": _format_share(m["background"] for m in marks),
        "object": _format_share(m["thing"] for m in objects),
        "object in five": _format_share(m["thing in five"] for m in objects),
        "shape with its colour": _format_share(m["thing"] and m["colour"] for m in shapes),
        "place": _format_share(m["place"] for m in marks),
    }


def evaluate_scenes(judge: ImageJudge, images: Images, scenes: Sequence[Scene]) -> dict[str, str]:
    """How many images of the harder kinds of scene are correct: all things, and all criteria."""
    marks: list[Marks] = [judge.judge_image(np.asarray(p), scene) for p, scene in zip(images, scenes, strict=True)]
    criteria = ("background", "thing", "colour", "place")
    return {
        "every thing": _format_share(m["thing"] and m["colour"] for m in marks),
        "everything": _format_share(all(m[one] for one in criteria) for m in marks),
    }


def evaluate_answers(model: VisionModel, images: Images, scenes: Sequence[Scene]) -> dict[str, str]:
    """How much the vision model gets right about plain scenes."""
    things, colours = model.answer_question(images, THING_QUESTION), model.answer_question(images, BACKGROUND_QUESTION)
    shapes, captions = model.answer_question(images, SHAPE_QUESTION), model.caption_images(images)
    rows = list(zip(scenes, things, colours, shapes, captions, strict=True))
    return {
        "object": _format_share(thing == s.subject for s, thing, *_ in rows if not s.thing.colour),
        "coloured shape": _format_share(thing == s.subject for s, thing, *_ in rows if s.thing.colour),
        "thing": _format_share(thing == s.subject for s, thing, *_ in rows),
        "background": _format_share(colour == s.background for s, _, colour, *_ in rows),
        "shape": _format_share(shape == s.thing.name for s, _, _, shape, _ in rows if s.thing.colour),
        "caption": _format_share(caption == s.caption for s, *_, caption in rows),
    }


def evaluate_questions(model: VisionModel, seed: int, scenes: Sequence[Scene]) -> dict[str, str]:
    """Balanced yes/no questions, how many, and where, on ground-truth renders."""
    questions = QuestionGenerator(np.random.default_rng(seed))
    yes_or_no, count, place = [], [], []
    for scene in scenes:
        image = Image.fromarray(render_scene(scene))
        question = questions.yes_no_question(scene)
        yes_or_no.append(model.answer_question([image], question.question) == [question.answer])
        if not scene.is_pair:
            answer = model.answer_question([image], f"how many {scene.thing.plural_phrase} are there?")
            count.append(answer == [COUNTS[len(scene.things) - 1]])
        if len(scene.things) == 1:
            answer = model.answer_question([image], f"where is the {scene.thing.name}?")
            place.append(answer == [location_phrase(scene)])
    return {"yes or no": _format_share(yes_or_no), "how many": _format_share(count), "where": _format_share(place)}


def evaluate_matching(matcher: MatchModel, scenes: Sequence[Scene]) -> str:
    """How often the correct caption of a hundred ranks first."""
    captions = [scene.caption for scene in scenes[:CAPTION_CHOICES]]
    firsts = [
        int(matcher.score_captions(Image.fromarray(render_scene(scene)), captions).argmax()) == index
        for index, scene in enumerate(scenes[:CAPTION_CHOICES])
    ]
    return _format_share(firsts)


def evaluate_models(models: Path, prompts: int, others: int, sheet: Path | None) -> dict[str, Any]:
    """Evaluate the models that exist; returns the table."""
    judge, scenes = ImageJudge(), {kind: held_out_of_kind(kind, prompts if kind == PLAIN else others) for kind in KINDS}
    renders = [Image.fromarray(render_scene(scene)) for scene in scenes[PLAIN]]
    table: dict[str, Any] = {"held-out prompts": prompts}
    table["true renders"] = evaluate_images(judge, renders, scenes[PLAIN])
    table["true renders"]["classifier"] = classifier.accuracy(judge.model, held_out_scenes())
    vision = VisionModel(models / "starter-vision") if (models / "starter-vision").exists() else None
    if (models / "starter-image").exists():
        table["starter-image"] = _evaluate_image_model(models / "starter-image", judge, scenes, sheet, vision)
    if vision:
        mixed = [*scenes[PLAIN], *scenes[COUNTED], *scenes[PAIRED], *scenes[SPOTTED]]
        table["starter-vision"] = evaluate_answers(vision, renders, scenes[PLAIN])
        table["starter-vision"] |= evaluate_questions(vision, 3, mixed)
    if (models / "starter-match").exists():
        matcher = MatchModel(models / "starter-match")
        table["starter-match"] = {"first of 100": evaluate_matching(matcher, scenes[PLAIN])}
    if (models / "starter-segment").exists():
        table["starter-segment"] = evaluate_segment(RegionModel.from_folder(models / "starter-segment"), prompts)
    if (models / "starter-control").exists():
        pipeline = load_pipeline(models / "starter-image", models / "starter-control")
        table["starter-control"] = evaluate_control(pipeline, prompts)
    return table


def _evaluate_image_model(
    folder: Path, judge: ImageJudge, scenes: dict[str, list[Scene]], sheet: Path | None, vision: VisionModel | None
) -> dict[str, Any]:
    notes = json.loads((folder / "easel.json").read_text())
    pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    generated = {kind: generate_images(pipeline, of_kind, notes) for kind, of_kind in scenes.items()}
    if sheet:
        contact_sheet([image for images, _ in generated.values() for image in images]).save(sheet)
    scores: dict[str, Any] = {"steps": notes["steps"], "guidance_scale": notes["guidance_scale"]}
    scores["seconds per picture"] = round(generated[PLAIN][1], 2)
    scores |= evaluate_images(judge, generated[PLAIN][0], scenes[PLAIN])
    scores |= {kind: evaluate_scenes(judge, generated[kind][0], scenes[kind]) for kind in KINDS if kind != PLAIN}
    if vision:
        scores["starter-vision agrees"] = evaluate_answers(vision, generated[PLAIN][0], scenes[PLAIN])
    return scores


def _format_share(outcomes: Any) -> str:
    """As in `285 of 300 (95.0 %)`."""
    passed = [bool(outcome) for outcome in outcomes]
    return f"{sum(passed)} of {len(passed)} ({100 * sum(passed) / max(1, len(passed)):.1f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--others", type=int, default=40, help="scenes of each other kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="also save the images as one contact sheet")
    parser.add_argument("--out", type=Path, default=Path("models/EVALUATION.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = evaluate_models(options.models, options.prompts, options.others, options.sheet)
    others = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps(others | table, indent=2) + "\n")
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
