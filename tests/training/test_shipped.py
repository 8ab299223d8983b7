"""The weights that ship: their size, their licences, and samples of what `models/EVALUATION.json` says of all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from PIL import Image

from bot.error_texts import DEMO_HINT
from training.colours import COLOURS
from training.draw import render
from training.evaluate import THING, Looker, Matcher, draw_all, held_out_of
from training.judge import Judge
from training.objects import OBJECTS
from training.questions import Asker
from training.scenes import PLAIN
from training.world import SIZE

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = ("starter-image", "starter-vision", "starter-match")


@pytest.fixture(scope="module")
def scenes():
    """Held out of every training."""
    return held_out_of(PLAIN, 300)[::15]


def pictures_of(scenes):
    return [Image.fromarray(render(scene)) for scene in scenes]


@pytest.mark.parametrize(("name", "most"), [("starter-image", 45), ("starter-vision", 30), ("starter-match", 30)])
def test_a_shipped_model_is_small(name, most):
    assert sum(file.stat().st_size for file in (MODELS / name).rglob("*") if file.is_file()) <= most * 10**6


@pytest.mark.parametrize("name", SHIPPED)
def test_the_artworks_licence_and_a_card_lie_beside_the_weights(name):
    folder = MODELS / name

    assert "Apache License" in (folder / "ARTWORK-LICENSE").read_text()
    assert "Noto Emoji" in (folder / "ARTWORK-NOTICE").read_text()
    assert "Noto Emoji" in (folder / "README.md").read_text()
    assert json.loads((folder / "easel.json").read_text())["demo"] is True


def test_the_hint_tells_what_the_world_holds():
    assert f"{len(OBJECTS)} objects and {len(COLOURS)} colours at {SIZE} px" in DEMO_HINT


def test_what_is_drawn_is_what_was_asked_for(scenes):
    folder = MODELS / "starter-image"
    notes = json.loads((folder / "easel.json").read_text())
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)

    drawn, _ = draw_all(pipeline, scenes, notes)

    judge = Judge()
    marks = [judge.marks(np.asarray(picture), scene) for picture, scene in zip(drawn, scenes, strict=True)]
    assert sum(mark["background"] for mark in marks) >= len(scenes) - 1
    assert sum(mark["thing"] and mark["colour"] for mark in marks) >= 0.8 * len(scenes)


def test_what_is_seen_is_what_is_there(scenes):
    looker, asker = Looker(MODELS / "starter-vision"), Asker(np.random.default_rng(8))
    pictures = pictures_of(scenes)

    things = looker.ask(pictures, THING)
    asked = [asker.yes_or_no(scene) for scene in scenes for _ in range(3)]
    said = [looker.ask([pictures[i // 3]], one.question)[0] for i, one in enumerate(asked)]

    assert sum(thing == scene.subject for thing, scene in zip(things, scenes, strict=True)) >= 0.9 * len(scenes)
    assert sum(one.answer == answer for one, answer in zip(asked, said, strict=True)) >= 0.9 * len(asked)


def test_the_right_caption_comes_first(scenes):
    matcher, captions = Matcher(MODELS / "starter-match"), [scene.caption for scene in scenes]

    firsts = [int(matcher.fits(picture, captions).argmax()) for picture in pictures_of(scenes)]

    assert sum(first == place for place, first in enumerate(firsts)) >= 0.8 * len(scenes)
