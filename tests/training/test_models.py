"""Training scripts run from end to end, and the models shipped load and do what they are for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from PIL import Image

from training import train_image, train_vision
from training.evaluate import BACKGROUND, SHAPE, Looker
from training.judge import Judge
from training.world import CANONICAL, Combination, Scene, render

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def canonical() -> Combination:
    return Combination(*CANONICAL)


def draw(folder: Path, prompt: str, steps: int, guidance_scale: float) -> np.ndarray:
    """One picture by an image model, RGB."""
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(0),
    )
    return np.asarray(drawn.images[0])


def test_a_quick_training_saves_an_image_model_that_loads(tmp_path):
    train_image.train(train_image.QUICK, tmp_path / "runs", tmp_path / "model")

    assert draw(tmp_path / "model", "a red circle", 1, 1.0).shape == (128, 128, 3)


def test_a_quick_training_saves_a_vision_model_that_loads(tmp_path, canonical):
    train_vision.train(train_vision.QUICK, tmp_path / "runs", tmp_path / "model", MODELS / "starter-image")

    looker = Looker(tmp_path / "model")
    assert looker.processor.num_query_tokens == looker.model.config.num_query_tokens
    assert looker.model.config.image_token_index is not None
    assert isinstance(looker.ask([to_image(render(Scene(canonical)))], BACKGROUND)[0], str)


def test_a_stopped_training_goes_on_where_it_was(tmp_path):
    places = (tmp_path / "runs", tmp_path / "model", MODELS / "starter-image")
    first = train_vision.train(train_vision.QUICK, *places)

    again = train_vision.train(train_vision.QUICK, *places)

    assert first == again


def test_the_shipped_image_model_draws_a_red_circle_on_blue(canonical):
    folder = MODELS / "starter-image"
    notes = json.loads((folder / "easel.json").read_text())

    pixels = draw(folder, canonical.caption, notes["steps"], notes["guidance_scale"])

    assert all(Judge().judge(pixels).agrees(canonical).values())


def test_the_shipped_vision_model_names_the_background_and_the_shape(canonical):
    looker = Looker(MODELS / "starter-vision")
    picture = to_image(render(Scene(canonical)))

    assert looker.ask([picture], BACKGROUND) == ["blue"]
    assert looker.ask([picture], SHAPE) == ["circle"]
    assert looker.caption([picture]) == ["a red circle on a blue background"]


def to_image(pixels: np.ndarray):

    return Image.fromarray(pixels)
