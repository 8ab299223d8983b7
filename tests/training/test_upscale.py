"""Upscaling: training pairs, the quick training, and the layout that Easel's engine loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from inference.checkpoints.identify import identify_path
from inference.upscaling.loader import load_upscaler
from tests.inference.support import make_model
from training import train_upscale
from training.evaluate_upscale import Upscaler, compare, luma_psnr, resize_image
from training.photographs import LICENCES, load_photographs
from training.upscale import PATCH, SCALE, CompactUpscaler, UpscaleDataset, render_scenes, to_tensor


def photograph(side: int = 160) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([rows % 256, columns % 256, (rows * columns) % 256], axis=-1).astype(np.uint8)


def test_a_small_image_is_a_smaller_version_of_its_large_one():
    dataset = UpscaleDataset([photograph()], render_scenes(1, seed=0, side=PATCH * SCALE))

    small, large = dataset.sample_batch(np.random.default_rng(3), 4)

    assert small.shape == (4, 3, PATCH, PATCH)
    assert large.shape == (4, 3, PATCH * SCALE, PATCH * SCALE)
    averaged = torch.nn.functional.avg_pool2d(large, SCALE)
    assert (small - averaged).abs().mean() < 0.05


def test_an_untrained_model_passes_its_input_on():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16)

    hidden = image
    for layer in CompactUpscaler().body[:-1]:
        hidden = layer(hidden)

    assert 0.1 < hidden.std() < 3, "the usual start would fade out"


def test_photographs_are_shrunk_and_their_licences_known(tmp_path: Path):
    Image.fromarray(photograph(200)).save(tmp_path / "astronaut.png")

    [shrunk] = load_photographs(tmp_path, largest=50)

    assert shrunk.shape == (50, 50, 3)
    assert all(licence.startswith(("CC0", "CC BY 2.0", "public", "no known")) for licence in LICENCES.values())


def test_a_difference_of_one_level_is_48_decibels():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)

    assert luma_psnr(image, image + 1) == pytest.approx(48.13, abs=0.01)
    assert resize_image(image, 8, 8) is image


def test_a_quick_training_saves_a_model_that_easel_loads_and_resumes(tmp_path: Path):
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    recipe = replace(train_upscale.QUICK, photographs=tmp_path)
    places = (tmp_path / "runs", tmp_path / "model")
    seconds = train_upscale.train_upscale_model(recipe, *places)

    info = identify_path(places[1])
    loaded = load_upscaler(make_model(repo=str(places[1])), places[1], "cpu")
    trained = Upscaler.from_folder(places[1])

    assert info.tasks == ("image-upscaling",)
    assert (loaded.scale, load_file(places[1] / "model.safetensors")["body.0.weight"].dtype) == (SCALE, torch.float16)
    small = photograph(24)
    enlarged = loaded.enlarge(to_tensor([small])).mul(255).round()[0].permute(1, 2, 0)
    assert np.abs(enlarged.numpy() - trained.enlarge(small, SCALE)).max() <= 1
    assert set(compare(trained, [photograph(48)])) == {"x2", "x2, JPEG", "x4", "x4, JPEG"}
    assert (places[1] / "ARTWORK-NOTICE").exists()
    assert train_upscale.train_upscale_model(recipe, *places) == seconds, "nothing is left to train"
