"""Training scripts run from end to end, and the models shipped load and do what they are for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from PIL import Image

from training import classifier, train_image, train_match, train_vision
from training.draw import render
from training.evaluate import BACKGROUND, SHAPE, Looker, Matcher
from training.judge import Judge
from training.world import CANONICAL

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def canonical() -> Image.Image:
    return Image.fromarray(render(CANONICAL))


@pytest.fixture(scope="module")
def quick_vision(tmp_path_factory) -> Path:
    """A vision model that has hardly learned anything."""
    folder = tmp_path_factory.mktemp("vision")
    train_vision.train(train_vision.QUICK, folder / "runs", folder / "model", MODELS / "starter-image")
    return folder


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
    assert (tmp_path / "model" / "ARTWORK-NOTICE").exists()


def test_a_quick_training_saves_a_vision_model_that_loads(quick_vision, canonical):
    looker = Looker(quick_vision / "model")

    assert looker.processor.num_query_tokens == looker.model.config.num_query_tokens
    assert looker.model.config.image_token_index is not None
    assert isinstance(looker.ask([canonical], BACKGROUND)[0], str)


def test_a_quick_training_saves_a_matching_model_that_loads(quick_vision, tmp_path, canonical):
    places = (tmp_path / "runs", tmp_path / "model", MODELS / "starter-image", quick_vision / "model")
    train_match.train(train_match.QUICK, *places)

    fits = Matcher(tmp_path / "model").fits(canonical, ["a cat on a red background", "a circle"])

    assert fits.shape == (2,)


def test_a_quick_training_saves_a_classifier_that_loads(tmp_path):
    classifier.train(classifier.QUICK, tmp_path, tmp_path / "classifier.safetensors")

    assert 0 <= classifier.accuracy(classifier.load(tmp_path / "classifier.safetensors"), [CANONICAL]) <= 1


def test_a_stopped_training_goes_on_where_it_was(quick_vision):
    places = (quick_vision / "runs", quick_vision / "model", MODELS / "starter-image")

    assert train_vision.train(train_vision.QUICK, *places) == train_vision.train(train_vision.QUICK, *places)


def test_the_shipped_image_model_draws_a_red_circle_on_blue():
    folder = MODELS / "starter-image"
    notes = json.loads((folder / "easel.json").read_text())

    pixels = draw(folder, CANONICAL.caption, notes["steps"], notes["guidance_scale"])

    assert all(Judge().marks(pixels, CANONICAL).values())


def test_the_shipped_vision_model_names_the_background_and_the_shape(canonical):
    looker = Looker(MODELS / "starter-vision")

    assert looker.ask([canonical], BACKGROUND) == ["blue"]
    assert looker.ask([canonical], SHAPE) == ["circle"]
    assert looker.caption([canonical]) == ["a red circle on a blue background"]
