"""A demo model that repaints a ground is told what stays in front of it."""

from dataclasses import replace

import pytest

from bot.error_texts import format_note
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, ModelRegistry, ModelSpec
from bot.ports import Task, TaskImage, TaskOutput
from bot.queue.parts.kept_subject import KeptSubjectPreparation

STARTER = ModelSpec(name="starter", tasks=(IMAGE_TO_IMAGE,), repo=".", demo=True)
CAPTIONS = ModelSpec(name="captions", tasks=(IMAGE_TO_TEXT,), repo=".", demo=True)
PICTURE, MASK = (TaskImage(role, Media(b"", "image/png")) for role in ("init", "mask"))


def make_task(model=STARTER, **options):
    given = {"prompt": "a green background", "region": "the background"} | options
    return Task(id="job", command="imagine", task=IMAGE_TO_IMAGE, model=model, options=given, images=(PICTURE, MASK))


async def prepare(task, caption="a bell on a black background", models=(CAPTIONS,)):
    asked = []

    async def run_part(part):
        asked.append(part)
        return TaskOutput(text=caption)

    registry = ModelRegistry({model.name: model for model in models})
    return await KeptSubjectPreparation(models=registry).prepare(task, run_part), asked


@pytest.mark.parametrize("options", [{}, {"region": "the bell", "keep": True}, {"region": "Background"}])
async def test_the_prompt_names_the_thing_that_stays(options):
    prepared, (part,) = await prepare(make_task(**options))

    assert prepared.options["prompt"] == "a bell on a green background"
    assert [format_note(note) for note in prepared.notes] == [
        "The demo model only knows things on a ground, so it was told: a bell on a green background"
    ]
    assert (part.task, part.model.name, part.id.startswith("job")) == (IMAGE_TO_TEXT, "captions", True)


@pytest.mark.parametrize("options", [{"region": "the hat"}, {"region": ""}, {"region": "the background", "keep": True}])
async def test_a_prompt_of_a_thing_gets_the_ground_of_the_picture(options):
    prepared, _ = await prepare(make_task(prompt="a crown", **options))

    assert prepared.options["prompt"] == "a crown on a black background"
    assert format_note(prepared.notes[0]).endswith("it was told: a crown on a black background")


async def test_each_of_several_prompts_is_completed():
    prepared, _ = await prepare(make_task(prompt="a crown", prompts=["a crown", "a {hat}"], region="the hat"))

    assert prepared.options["prompts"] == ["a crown on a black background", "a {hat} on a black background"]


@pytest.mark.parametrize(
    "task",
    [
        make_task(model=replace(STARTER, demo=False)),
        make_task(region="the bell"),
        replace(make_task(prompt="a crown", region="the bell"), images=(PICTURE,)),
        make_task(prompt="a bell on a green background"),
        make_task(region=None, prompt="a bell on a green background"),
        replace(make_task(), images=()),
    ],
    ids=["a real model", "a ground in the place of the thing", "no mask", "both are named", "no words", "no picture"],
)
async def test_other_tasks_are_left_alone(task):
    prepared, asked = await prepare(task)

    assert prepared is task
    assert not asked


@pytest.mark.parametrize(("caption", "models"), [("a bell", (CAPTIONS,)), ("", (CAPTIONS,)), ("a bell on a", ())])
async def test_without_a_caption_the_prompt_stays(caption, models):
    task = make_task()

    prepared, _ = await prepare(task, caption, models)

    assert prepared is task
