"""The shipped weights: their size, their licences, and samples of the figures in `models/EVALUATION.json`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from bot.error_texts import DEMO_HINT
from training.colours import COLOURS
from training.draw import render_scene
from training.evaluate import THING_QUESTION, MatchModel, VisionModel, generate_images, held_out_of_kind
from training.judge import ImageJudge
from training.objects import OBJECTS
from training.questions import QuestionGenerator
from training.scenes import PLAIN
from training.world import SIZE

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = ("starter-image", "starter-vision", "starter-match", "starter-segment", "starter-control", "starter-upscale")


@pytest.fixture(scope="module")
def scenes():
    """Scenes held out from all training."""
    return held_out_of_kind(PLAIN, 300)[::25]


def render_all(scenes):
    return [Image.fromarray(render_scene(scene)) for scene in scenes]


MOST_MB = {
    "starter-image": 45,
    "starter-vision": 30,
    "starter-match": 30,
    "starter-segment": 3,
    "starter-control": 17,
    "starter-upscale": 2,
    "starter-safety": 6,
}


@pytest.mark.parametrize(("name", "most"), MOST_MB.items())
def test_a_shipped_model_is_small(name, most):
    assert sum(file.stat().st_size for file in (MODELS / name).rglob("*") if file.is_file()) <= most * 10**6


@pytest.mark.parametrize("name", SHIPPED)
def test_the_artworks_licence_and_a_card_are_next_to_the_weights(name):
    folder = MODELS / name

    assert "Apache License" in (folder / "ARTWORK-LICENSE").read_text()
    assert "Noto Emoji" in (folder / "ARTWORK-NOTICE").read_text()
    assert "Noto Emoji" in (folder / "README.md").read_text()
    assert json.loads((folder / "easel.json").read_text())["demo"] is True


def test_the_demo_hint_states_the_size_of_the_world():
    assert f"{len(OBJECTS)} objects and {len(COLOURS)} colours at {SIZE} px" in DEMO_HINT


def test_generated_images_show_the_requested_scenes(scenes):
    folder = MODELS / "starter-image"
    notes = json.loads((folder / "easel.json").read_text())
    pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)

    images, _ = generate_images(pipeline, scenes, notes, batch=12)

    judge = ImageJudge()
    marks = [judge.judge_image(np.asarray(image), scene) for image, scene in zip(images, scenes, strict=True)]
    assert sum(mark["background"] for mark in marks) >= len(scenes) - 1
    assert sum(mark["thing"] and mark["colour"] for mark in marks) >= 0.8 * len(scenes)


def test_answers_match_the_scenes(scenes):
    model, questions = VisionModel(MODELS / "starter-vision"), QuestionGenerator(np.random.default_rng(8))
    images = render_all(scenes)

    things = model.answer_question(images, THING_QUESTION)
    sampled = [questions.yes_no_question(scene) for scene in scenes for _ in range(3)]
    answers = [model.answer_question([images[i // 3]], one.question)[0] for i, one in enumerate(sampled)]

    assert sum(thing == scene.subject for thing, scene in zip(things, scenes, strict=True)) >= 0.9 * len(scenes)
    assert sum(one.answer == answer for one, answer in zip(sampled, answers, strict=True)) >= 0.9 * len(sampled)


def test_the_correct_caption_ranks_first(scenes):
    matcher, captions = MatchModel(MODELS / "starter-match"), [scene.caption for scene in scenes]

    firsts = [int(matcher.score_captions(image, captions).argmax()) for image in render_all(scenes)]

    assert sum(first == place for place, first in enumerate(firsts)) >= 0.8 * len(scenes)
