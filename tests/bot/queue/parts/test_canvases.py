"""The canvas of `zoom`, `pan` and `square` is made before the main task, and a caption where there is no prompt."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from bot.errors import Blocked, EngineError, JobCancelled
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import SafetyRules, Task, TaskImage, TaskOutput
from bot.queue.parts.canvases import OutpaintingPreparation
from tests.fakes import make_model
from tests.in_process_tools import TOOLS

MODEL = make_model(name="fox", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
READER = make_model(name="reader", tasks=(IMAGE_TO_TEXT,))


def make_task(command="zoom", **options):
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(out, "PNG")
    picture = TaskImage("init", Media(out.getvalue(), "image/png"))
    options = {"prompt": "a fox", "factor": 2.0, **options}
    return Task(id="job", command=command, task=IMAGE_TO_IMAGE, model=MODEL, options=options, images=(picture,))


def make_preparation(*models):
    registry = ModelRegistry({model.name: model for model in (MODEL, *models)})
    return OutpaintingPreparation(models=registry, images=TOOLS)


async def refuse(_part):
    raise AssertionError("no part is needed")


async def test_the_task_gets_a_canvas_and_its_mask():
    prepared = await make_preparation(READER).prepare(make_task(), refuse)

    assert [image.role for image in prepared.images] == ["init", "mask"]
    sizes = [Image.open(io.BytesIO(image.media.data)).size for image in prepared.images]
    assert sizes == [(60, 40), (60, 40)]
    assert prepared.options["prompt"] == "a fox"


@pytest.mark.parametrize(
    ("prompt", "caption", "told"),
    [
        ("a red car on a green background", None, "a green background"),
        ("a hat on a table on a blue background", None, "a blue background"),
        ("a green background", None, "a green background"),
        ("a car", "a red car on a pink background", "a pink background"),
        ("", "a red car on a pink background", "a pink background"),
        ("a car", "a red car", "a car"),
    ],
)
async def test_a_demo_model_is_told_of_the_ground_alone(prompt, caption, told):
    async def read(_part):
        assert caption is not None
        return TaskOutput(text=caption)

    task = replace(make_task(prompt=prompt), model=replace(MODEL, demo=True))
    prepared = await make_preparation(READER).prepare(task, read)

    assert prepared.options["prompt"] == told
    assert bool(prepared.notes) == (told != prompt)


async def test_other_commands_are_left_alone():
    task = make_task("imagine")

    assert await make_preparation().prepare(task, refuse) is task


async def test_without_a_prompt_the_picture_is_captioned():
    seen = []

    async def caption(part):
        seen.append(part)
        return TaskOutput(text=" a red fox ")

    prepared = await make_preparation(READER).prepare(make_task(prompt=""), caption)

    assert prepared.options["prompt"] == "a red fox"
    assert [(part.id, part.model.name, part.command, len(part.images)) for part in seen] == [
        ("job.caption0", "reader", "caption", 1)
    ]


@pytest.mark.parametrize("reader", [(), (replace(READER, demo=True),)])
async def test_no_model_that_can_caption_the_picture_is_no_error(reader):
    prepared = await make_preparation(*reader).prepare(make_task(prompt=""), refuse)

    assert prepared.options["prompt"] == ""


async def test_a_caption_that_fails_does_not_cost_the_job_and_a_cancelled_one_ends_it():
    async def fail(_part):
        raise EngineError("broken")

    async def cancel(_part):
        raise JobCancelled

    preparation = make_preparation(READER)

    assert (await preparation.prepare(make_task(prompt=""), fail)).options["prompt"] == ""
    with pytest.raises(JobCancelled):
        await preparation.prepare(make_task(prompt=""), cancel)


@pytest.mark.parametrize(("score", "refusal"), [(0.9, "picture"), (None, "unchecked"), (0.2, "")])
async def test_the_picture_is_checked_before_it_becomes_smaller_on_its_canvas(score, refusal):
    parts = []

    async def score_pictures(part):
        parts.append(part)
        return TaskOutput(scores=(score,))

    task = replace(make_task(prompt=""), rules=SafetyRules(policy="block", threshold=0.5))
    if refusal:
        with pytest.raises(Blocked) as blocked:
            await make_preparation(READER).prepare(task, score_pictures)
        assert blocked.value.reason == refusal
    else:
        prepared = await make_preparation().prepare(task, score_pictures)
        assert prepared.rules == replace(task.rules, input_score=0.2)

    assert [(part.is_safety_check, part.images) for part in parts] == [(True, task.images)]


async def test_a_picture_whose_caption_may_not_be_asked_for_is_refused():
    async def refuse_caption(_part):
        raise Blocked("picture")

    with pytest.raises(Blocked):
        await make_preparation(READER).prepare(make_task(prompt=""), refuse_caption)
