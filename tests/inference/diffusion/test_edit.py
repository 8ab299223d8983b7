"""Editing by instruction, on a tiny InstructPix2Pix with random weights, through the ordinary engine."""

import dataclasses

import pytest
import torch
from PIL import Image

from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.engine.base import EngineEvent, Made, Over, Step, build
from inference.images.metadata import about
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion, save_editor

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")]

OPTIONS = {"steps": 4, "guidance_scale": 3.0, "width": 32, "height": 24, "negative_prompt": "", "sampler": ""}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = save_editor(tmp_path_factory.mktemp("models") / "editor")
    return make_model("editor", tasks=(IMAGE_TEXT_TO_IMAGE,), repo=str(folder))


@pytest.fixture(scope="module")
def engine(model):
    engine = build(model)
    engine.load("cpu")
    yield engine
    engine.unload()


def make_edit(model, colour="red", **options):
    picture = TaskImage("init", Media(png(Image.new("RGB", (64, 48), colour)), "image/png"))
    return make_task(
        "a blue cat",
        command="edit",
        task=IMAGE_TEXT_TO_IMAGE,
        model=model,
        options=OPTIONS | options,
        images=(picture,),
    )


def run(engine, task):
    engine.admit(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], Over)):
        events += engine.step()
    return events


def picture(engine, task):
    [made] = [event.picture for event in run(engine, task) if isinstance(event, Made)]
    return made


def test_an_edit_is_held_at_each_step_and_gives_a_picture_of_the_size(engine, model):
    events = run(engine, make_edit(model))
    [made] = [event.picture for event in events if isinstance(event, Made)]

    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 4]
    assert (made.width, made.height, len(made.pixels)) == (32, 24, 32 * 24 * 3)


def test_the_picture_the_instruction_and_the_guidance_all_matter(engine, model):
    plain = picture(engine, make_edit(model)).pixels
    task = make_edit(model)
    others = {
        "picture": make_edit(model, "blue"),
        "instruction": dataclasses.replace(task, options={**task.options, "prompt": "what is a fox"}),
        "guidance": make_edit(model, image_guidance_scale=4.0),
        "seed": make_edit(model, seed=8),
    }

    assert picture(engine, make_edit(model)).pixels == plain
    for name, other in others.items():
        assert picture(engine, other).pixels != plain, name


def test_an_edited_picture_says_that_it_was_edited(engine, model):
    parameters, easel = about(make_edit(model), picture(engine, make_edit(model)))

    assert '"command": "edit"' in easel
    assert "Denoising strength" not in parameters


def test_a_pipeline_that_takes_no_picture_is_refused(tmp_path):
    folder = save_diffusion(tmp_path / "plain")

    with pytest.raises(ModelUnavailable) as refused:
        build(make_model("plain", tasks=(IMAGE_TEXT_TO_IMAGE,), repo=str(folder))).load("cpu")
    assert "takes no instruction" in refused.value.detail
