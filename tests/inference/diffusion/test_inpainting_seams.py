"""Repainted regions of two held-out scenes on the starter; `benchmarks.inpainting_seams` measures a hundred."""

import numpy
import pytest
import torch
from PIL import Image

from benchmarks.engine_events import encode_png
from benchmarks.inpainting_seams import MAX_OLD, MAX_SEAM, SeamTrial, render_scene
from bot.commands import COMMANDS
from bot.jobs import ImageRef
from bot.models import IMAGE_TO_IMAGE
from bot.ports import Task, TaskImage
from inference.images.canvas_tools import extend_canvas
from training.colours import colour_rgb

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module")
def trial():
    torch.set_num_threads(1)
    return SeamTrial(2)


def test_a_new_thing_has_no_visible_seam(trial):
    made = trial.repaint_things()

    assert all(one.is_kept for one in made)
    assert max(one.seam for one in made) <= MAX_SEAM


def test_a_new_ground_leaves_nothing_of_the_old_one_and_the_thing_as_it_was(trial):
    made = trial.repaint_grounds()

    assert all(one.is_kept for one in made)
    assert max(one.old for one in made) <= MAX_OLD
    assert min(one.new for one in made) > 0.9


def test_an_extended_picture_has_no_line_at_its_border_and_no_second_thing(trial):
    scene = trial.scenes[0]
    pixels, _ = render_scene(scene)
    command = COMMANDS["pan"].from_options({"prompt": scene.backdrop}, [ImageRef("a" * 64)])
    options = command.fill_options(trial.model, 1, 1.5) | {"width": 160, "height": 112}
    images = extend_canvas([Image.fromarray(pixels)], {"command": "pan", "direction": "right"})
    named = tuple(
        TaskImage(role, encode_png(numpy.asarray(image))) for role, image in zip(("init", "mask"), images, strict=True)
    )
    task = Task(id="pan", command="pan", task=IMAGE_TO_IMAGE, model=trial.model, options=options, images=named)
    made = trial.run([task])["pan"].astype(int)

    width = pixels.shape[1]
    kept, new = slice(0, width - 12), slice(width - 12, None)
    steps = abs(numpy.diff(made[:, new], axis=1)).mean(axis=(0, 2))
    assert (made[:, kept] == pixels[:, kept]).all()
    assert steps.max() <= MAX_SEAM / 2
    assert (abs(made[:, width:] - colour_rgb(scene.background)).mean(axis=2) > 24).mean() < 0.02
