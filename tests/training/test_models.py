"""Training scripts run from end to end, and the shipped models load and do their job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from training import classifier, train_image, train_match, train_vision
from training.draw import render_scene
from training.evaluate import BACKGROUND_QUESTION, SHAPE_QUESTION, MatchModel, VisionModel
from training.judge import ImageJudge
from training.world import CANONICAL

MODELS = Path(__file__).parents[2] / "models"


class QuickTraining(NamedTuple):
    """`places`: of runs, model and image model."""

    places: tuple[Path, Path, Path]
    seconds: float

    @property
    def model(self) -> Path:
        return self.places[1]


@pytest.fixture
def canonical() -> Image.Image:
    return Image.fromarray(render_scene(CANONICAL))


@pytest.fixture(scope="module")
def quick_vision(tmp_path_factory) -> QuickTraining:
    """A vision model after two training steps per stage."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("vision")
    places = (folder / "runs", folder / "model", MODELS / "starter-image")
    return QuickTraining(places, train_vision.train_vision_model(train_vision.QUICK, *places))


def generate(folder: Path, prompt: str, steps: int, guidance_scale: float) -> np.ndarray:
    """One image by an image model, RGB."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(0),
    )
    return np.asarray(output.images[0])


def test_a_quick_training_saves_an_image_model_that_loads(tmp_path):
    train_image.train_image_model(train_image.QUICK, tmp_path / "runs", tmp_path / "model")

    assert generate(tmp_path / "model", "a red circle", 1, 1.0).shape == (128, 128, 3)
    assert (tmp_path / "model" / "ARTWORK-NOTICE").exists()


def test_a_quick_training_saves_a_vision_model_that_loads(quick_vision, canonical):
    model = VisionModel(quick_vision.model)

    assert model.processor.num_query_tokens == model.model.config.num_query_tokens
    assert model.model.config.image_token_index is not None
    assert isinstance(model.answer_question([canonical], BACKGROUND_QUESTION)[0], str)


def test_a_quick_training_saves_a_matching_model_that_loads(quick_vision, tmp_path, canonical):
    places = (tmp_path / "runs", tmp_path / "model", MODELS / "starter-image", quick_vision.model)
    train_match.train_match_model(train_match.QUICK, *places)

    scores = MatchModel(tmp_path / "model").score_captions(canonical, ["a cat on a red background", "a circle"])

    assert scores.shape == (2,)


def test_a_quick_training_saves_a_classifier_that_loads(tmp_path):
    classifier.train_classifier(classifier.QUICK, tmp_path, tmp_path / "classifier.safetensors")

    assert 0 <= classifier.accuracy(classifier.load_classifier(tmp_path / "classifier.safetensors"), [CANONICAL]) <= 1


def test_an_interrupted_training_resumes(quick_vision):
    assert train_vision.train_vision_model(train_vision.QUICK, *quick_vision.places) == quick_vision.seconds


def test_the_shipped_image_model_draws_a_red_circle_on_blue():
    folder = MODELS / "starter-image"
    notes = json.loads((folder / "easel.json").read_text())

    pixels = generate(folder, CANONICAL.caption, notes["steps"], notes["guidance_scale"])

    assert all(ImageJudge().judge_image(pixels, CANONICAL).values())


def test_the_shipped_vision_model_names_the_background_and_the_shape(canonical):
    model = VisionModel(MODELS / "starter-vision")

    assert model.answer_question([canonical], BACKGROUND_QUESTION) == ["blue"]
    assert model.answer_question([canonical], SHAPE_QUESTION) == ["circle"]
    assert model.caption_images([canonical]) == ["a red circle on a blue background"]
