"""Editing by instruction, on a tiny InstructPix2Pix with random weights, through the ordinary engine."""

import dataclasses

import pytest
import torch
from PIL import Image

from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.engine.base import EngineEvent, ImageReady, StepDone, TaskDone, build_engine
from inference.images.metadata import generation_metadata
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
    engine = build_engine(model)
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def make_edit(model, colour="red", **options):
    image = TaskImage("init", Media(png(Image.new("RGB", (64, 48), colour)), "image/png"))
    return make_task(
        "a blue cat",
        command="edit",
        task=IMAGE_TEXT_TO_IMAGE,
        model=model,
        options=OPTIONS | options,
        images=(image,),
    )


def run_task(engine, task):
    engine.add_task(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], TaskDone)):
        events += engine.step()
    return events


def edited(engine, task):
    [image] = [event.image for event in run_task(engine, task) if isinstance(event, ImageReady)]
    return image


def test_an_edit_is_suspended_at_each_step_and_gives_an_image_of_the_requested_size(engine, model):
    events = run_task(engine, make_edit(model))
    [image] = [event.image for event in events if isinstance(event, ImageReady)]

    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]
    assert (image.width, image.height, len(image.pixels)) == (32, 24, 32 * 24 * 3)


def test_image_instruction_guidance_and_seed_all_change_the_result(engine, model):
    plain = edited(engine, make_edit(model)).pixels
    task = make_edit(model)
    others = {
        "image": make_edit(model, "blue"),
        "instruction": dataclasses.replace(task, options={**task.options, "prompt": "what is a fox"}),
        "guidance": make_edit(model, image_guidance_scale=4.0),
        "seed": make_edit(model, seed=8),
    }

    assert edited(engine, make_edit(model)).pixels == plain
    for name, other in others.items():
        assert edited(engine, other).pixels != plain, name


def test_the_metadata_of_an_edited_image_names_the_command(engine, model):
    parameters, easel = generation_metadata(make_edit(model), edited(engine, make_edit(model)))

    assert '"command": "edit"' in easel
    assert "Denoising strength" not in parameters


def test_a_pipeline_without_an_image_input_is_refused(tmp_path):
    folder = save_diffusion(tmp_path / "plain")

    with pytest.raises(ModelUnavailable) as refused:
        build_engine(make_model("plain", tasks=(IMAGE_TEXT_TO_IMAGE,), repo=str(folder))).load_model("cpu")
    assert "does not edit images by instruction" in refused.value.detail
