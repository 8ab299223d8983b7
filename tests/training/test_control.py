"""Outlines as control: maps of silhouettes and edges, and a training that saves a ControlNet that loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training import train_control
from training.control import FrozenImageModel, build_controlnet
from training.control_data import ControlDataset, Pose, pose_thing
from training.draw import blend_layers
from training.evaluate_control import MAX_USUAL_OVERLAP, find_silhouette, load_pipeline, make_tasks, paint_tasks
from training.outlines import fill_silhouette, intersection_over_union, outline_edges, outline_silhouettes
from training.world import SIZE, Thing

IMAGE_MODEL = Path(__file__).parents[2] / "models" / "starter-image"
GROUND = np.array([40.0, 80.0, 220.0])


def posed_square(**changes) -> tuple[np.ndarray, np.ndarray]:
    """A red square of 64 pixels in the middle of a blue ground, and its mask."""
    pose = Pose((0.5, 0.5), 0.5, **changes)
    pixels, masks = blend_layers([pose_thing(Thing("square", "red"), pose)], GROUND)
    return pixels, masks[0] > 0.5


def test_an_outline_is_the_border_of_the_silhouette():
    _, mask = posed_square()

    lines = outline_silhouettes(mask[None].astype(np.float32))

    assert abs(int(lines.sum()) - 4 * 63) <= 4
    assert (fill_silhouette(lines) == mask).all()


@pytest.mark.parametrize("width", [2, 3])
def test_a_wider_outline_contains_the_narrow_one(width):
    mask = posed_square()[1][None].astype(np.float32)

    narrow, wide = outline_silhouettes(mask), outline_silhouettes(mask, width)

    assert (wide | narrow == wide).all()
    assert wide.sum() > (width - 0.5) * narrow.sum()


def test_the_edges_of_a_picture_are_thin_and_lie_on_its_border():
    pixels, mask = posed_square()
    edges = outline_edges(pixels)

    near = outline_silhouettes(mask[None].astype(np.float32), 3)
    assert 200 < edges.sum() < 330
    assert not (edges & ~near).any()


def test_a_ground_without_contrast_has_no_edges():
    assert not outline_edges(np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)).any()


def test_a_pose_rotates_and_stretches():
    _, upright = posed_square()
    _, turned = posed_square(angle=45.0)
    _, wide = posed_square(stretch=1.25)

    assert abs(int(turned.sum()) - int(upright.sum())) < 0.03 * upright.sum()
    assert turned.any(axis=0).sum() > 1.35 * upright.any(axis=0).sum()
    assert wide.any(axis=0).sum() == 80


def test_the_silhouette_of_a_picture_is_that_of_its_thing():
    pixels, mask = posed_square(angle=20.0)

    assert intersection_over_union(find_silhouette(pixels), mask) > 0.97


def test_a_batch_has_images_maps_and_prompts_of_one_scene_each():
    images, maps, prompts = ControlDataset().sample_batch(np.random.default_rng(3), 8)

    assert images.shape == maps.shape == (8, 3, SIZE, SIZE)
    assert len(prompts) == 8
    assert set(maps.unique().tolist()) == {0.0, 1.0}
    again = ControlDataset().sample_batch(np.random.default_rng(3), 8)
    assert bool((images == again[0]).all())
    assert prompts == again[2]


def test_evaluation_asks_for_other_places_than_the_prompts_own():
    tasks = make_tasks(6)

    assert all(0.02 < task.silhouette.mean() < 0.4 for task in tasks)
    assert all(task.lines.any() for task in tasks)
    assert MAX_USUAL_OVERLAP < 0.4


def test_an_untrained_controlnet_changes_nothing():
    controlnet = build_controlnet(FrozenImageModel(IMAGE_MODEL).unet)

    down, mid = controlnet(
        torch.randn(1, 32, 8, 8), 999, torch.randn(1, 32, 192), torch.ones(1, 3, SIZE, SIZE), return_dict=False
    )

    assert not any(residual.any() for residual in (*down, mid))


def test_a_quick_training_saves_a_controlnet_that_paints_and_resumes(tmp_path):
    places = (tmp_path / "runs", tmp_path / "model", IMAGE_MODEL)
    seconds = train_control.train_control_model(train_control.QUICK, *places)

    [picture] = paint_tasks(load_pipeline(IMAGE_MODEL, places[1]), make_tasks(1), 1.0, steps=1)

    assert picture.size == (SIZE, SIZE)
    assert sum(file.stat().st_size for file in places[1].iterdir()) < 17 * 10**6
    assert (places[1] / "ARTWORK-NOTICE").exists()
    assert train_control.train_control_model(train_control.QUICK, *places) == seconds, "nothing is left to train"
