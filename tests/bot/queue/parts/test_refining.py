"""A refinement is prepared: enlarged by an upscaler, a prompt for each tile, a control where the model has one."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from bot.commands.refine_tiles import TILE_PROMPTS
from bot.error_texts import format_note
from bot.errors import EngineError, JobCancelled
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, IMAGE_UPSCALING, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import RenderedImage, Task, TaskImage, TaskOutput
from bot.queue.parts.refining import RefinePreparation
from tests.fakes import make_model
from tests.in_process_tools import TOOLS

MODEL = make_model(name="fox", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), width=64, height=64, max_size=64, min_size=16)
READER = make_model(name="reader", tasks=(IMAGE_TO_TEXT,))
ESRGAN = make_model(name="esrgan", tasks=(IMAGE_UPSCALING,))


def picture(color: str, size=(40, 30)) -> Media:
    out = io.BytesIO()
    image = Image.new("RGB", size, color)
    image.paste("blue", (0, 0, size[0] // 2, size[1]))
    image.save(out, "PNG")
    return Media(out.getvalue(), "image/png")


def make_task(*, model=MODEL, **options) -> Task:
    filled = {"prompt": "a fox", "scale": 3, "method": "refine", "width": 120, "height": 90, "model": "fox", **options}
    images = (TaskImage("init", picture("red")),)
    return Task(id="job", command="upscale", task=IMAGE_TO_IMAGE, model=model, options=filled, images=images)


def prepare(task, run_part, *models):
    registry = ModelRegistry({model.name: model for model in (task.model, *models)})
    return RefinePreparation(models=registry, images=TOOLS).prepare(task, run_part)


async def refuse(_part):
    raise AssertionError("no part is needed")


def color_of(media: Media) -> str:
    red, _, blue = Image.open(io.BytesIO(media.data)).convert("RGB").resize((1, 1)).tobytes()
    return "red" if red > 2 * blue else "blue" if blue > 2 * red else "both"


async def test_each_tile_has_the_prompt_and_its_own_caption():
    seen = []

    async def caption(part):
        seen.append((part.id, Image.open(io.BytesIO(part.images[0].media.data)).size))
        return TaskOutput(text=color_of(part.images[0].media))

    prepared = await prepare(make_task(), caption, READER)

    assert prepared.options[TILE_PROMPTS] == ["a fox, blue", "a fox, both", "a fox, red"] * 2
    assert prepared.options["prompt"] == "a fox"
    assert [id for id, _ in seen] == [f"job.caption{number}" for number in range(6)]
    assert all(20 <= side <= 22 for _, size in seen for side in size)  # of 64 px enlarged three times


@pytest.mark.parametrize(
    ("task", "models"),
    [
        (make_task(), ()),
        (make_task(), (replace(READER, demo=True),)),
        (make_task(width=1200, height=900), (READER,)),
        (make_task(width=64, height=48), (READER,)),
        (make_task(method="resize"), (READER, ESRGAN)),
        (replace(make_task(), command="imagine"), (READER, ESRGAN)),
    ],
)
async def test_without_a_model_that_knows_better_or_with_many_tiles_all_have_one_prompt(task, models):
    assert await prepare(task, refuse, *models) is task


@pytest.mark.parametrize(("side", "tiles"), [(120, 9), (1200, 625)])
async def test_the_tiles_of_a_demo_have_no_prompt_or_each_would_show_the_whole_thing(side, tiles):
    task = make_task(model=replace(MODEL, demo=True), width=side, height=side)

    prepared = await prepare(task, refuse, replace(READER, demo=True))

    assert prepared.options[TILE_PROMPTS] == [""] * tiles
    assert prepared.options["prompt"] == "a fox"


async def test_an_upscaling_model_enlarges_first_and_the_result_says_so():
    enlarged, parts = picture("green", (120, 90)), []

    async def enlarge(part):
        parts.append(part)
        return TaskOutput(images=(RenderedImage(media=enlarged, width=120, height=90, parameters=""),))

    prepared = await prepare(make_task(), enlarge, ESRGAN)

    assert [(part.id, part.model.name, part.task, part.rules) for part in parts] == [
        ("job.enlarge", "esrgan", IMAGE_UPSCALING, None)
    ]
    assert (parts[0].options["width"], parts[0].options["method"]) == (120, "upscaler")
    assert [image.media for image in prepared.images] == [enlarged]
    assert [format_note(note) for note in prepared.notes] == ["Enlarged first by: esrgan"]


async def test_an_upscaler_that_fails_costs_no_job_and_a_cancelled_one_ends_it():
    async def fail(_part):
        raise EngineError("broken")

    async def cancel(_part):
        raise JobCancelled

    task = make_task()

    assert await prepare(task, fail, ESRGAN) is task
    with pytest.raises(JobCancelled):
        await prepare(task, cancel, ESRGAN)


async def test_a_tile_control_gets_the_picture_itself():
    prepared = await prepare(make_task(model=replace(MODEL, controls={"tile": "org/tile"})), refuse)

    init, control = prepared.images
    assert (control.role, control.kind, control.is_ready, control.media) == ("control", "tile", True, init.media)
