"""Flags about images in the words of Remix, Edit and Same style: without a job, about the picture concerned."""

from dataclasses import replace

import pytest

from bot.errors import InvalidOption
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tests.bot.usecases.test_chat import ORIGIN, chat, outbox, painted  # noqa: F401 - fixtures
from tests.bot.usecases.test_jobs import ANN, Harness, upload
from tests.fakes import make_model

CONTROLS = {"canny": "org/c", "style": "org/a", "subject": "org/b"}


@pytest.fixture
def harness():
    made = Harness()
    tasks = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)
    made.models.add_model(make_model(tasks=tasks, controls=CONTROLS, max_images=4))
    return made


def roles(ticket):
    return [(image.role, image.kind) for image in ticket.job.images]


@pytest.mark.parametrize(
    ("words", "prompt"),
    [("an owl --control canny:0.5 --steps 9", "an owl"), ("--control canny:0.5 --steps 9", "a fox")],
)
async def test_a_remix_is_controlled_by_the_picture(harness, chat, words, prompt):  # noqa: F811
    job = await painted(harness)
    [ticket] = await chat.remix(ANN, ORIGIN, job.id, words, picture=2)

    [image] = ticket.job.images
    assert (image.id, image.kind, image.weight) == (job.result.media[1].id, "canny", 0.5)
    assert (ticket.job.options["prompt"], ticket.job.options["steps"]) == (prompt, 9)


async def test_a_remix_replaces_the_control_that_its_job_had(harness, chat):  # noqa: F811
    control = replace(await upload(harness), role="control", kind="canny")
    job = await painted(harness, images=(control,))
    [ticket] = await chat.remix(ANN, ORIGIN, job.id, "an owl --control canny", picture=1)

    assert [image.id for image in ticket.job.images] == [job.result.media[0].id]


async def test_an_edit_takes_the_style_of_a_named_job(harness, chat):  # noqa: F811
    job, other = await painted(harness), await painted(harness, pictures=(b"oil",))
    [ticket] = await chat.edit(ANN, ORIGIN, job.id, f"make it blue --style-of {other.id}", picture=1)

    assert roles(ticket)[0] == ("init", "")
    assert [image.id for image in ticket.job.images] == [job.result.media[0].id, other.result.media[0].id]
    assert ticket.job.options["prompt"] == "make it blue"


async def test_a_picture_with_the_same_style_may_be_controlled_too(harness, chat):  # noqa: F811
    job = await painted(harness)
    harness.models.add_model(make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), controls=CONTROLS))
    [ticket] = await chat.refer(ANN, ORIGIN, job.id, "style", "an owl --control canny", picture=1)

    assert roles(ticket) == [("reference", "style"), ("control", "canny")]


@pytest.mark.parametrize(
    ("words", "problem"),
    [("a hat --mask", "mask_missing"), ("a hat --control cat", "choice"), ("a hat --control canny:nan", "range")],
)
async def test_flags_that_cannot_be_are_refused_in_one_sentence(harness, chat, words, problem):  # noqa: F811
    job = await painted(harness)
    jobs = len(harness.store.jobs)
    with pytest.raises(InvalidOption) as refused:
        await chat.remix(ANN, ORIGIN, job.id, words, picture=1)

    assert refused.value.problem == problem
    assert len(harness.store.jobs) == jobs
