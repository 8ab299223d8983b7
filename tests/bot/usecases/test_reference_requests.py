"""References and blends from the request to the job: accepted as the model will run them, or refused at no charge."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bot.chat.buttons import Button
from bot.chat.follow_ups import run_worded_follow_up
from bot.errors import InvalidOption
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tests.bot.usecases.test_chat import ORIGIN, accepted, chat, outbox, painted  # noqa: F401 - fixtures
from tests.bot.usecases.test_jobs import ANN, BOB, Harness, make_request, upload
from tests.fakes import make_model

PLAIN = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
ADAPTED = replace(PLAIN, controls={"style": "org/a", "subject": "org/b"})
KLEIN = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=4)


@pytest.fixture
def harness():
    return Harness()


def use_model(harness, model):
    harness.models.add_model(model)


async def references(harness, count, kind="", weight=1.0):
    pictures = [await upload(harness, data=str(number).encode()) for number in range(count)]
    return tuple(replace(one, role="reference", kind=kind, weight=weight) for one in pictures)


@pytest.mark.parametrize(("model", "task"), [(ADAPTED, TEXT_TO_IMAGE), (KLEIN, IMAGE_TEXT_TO_IMAGE)])
async def test_a_reference_reaches_the_job_and_a_reroll_of_it(harness, chat, model, task):  # noqa: F811
    use_model(harness, model)
    images = await references(harness, 1, "style")

    (ticket,) = await harness.jobs.submit(ANN, make_request(images=images))
    await chat.reroll(ANN, ORIGIN, ticket.job.id)

    for job in (ticket.job, accepted(harness)):
        assert (job.command, job.task) == ("imagine", task)
        assert [(one.id, one.role, one.kind) for one in job.images] == [(images[0].id, "reference", "style")]
        assert (job.options["width"], job.options["height"]) == (512, 512)  # a reference gives no shape


@pytest.mark.parametrize("model", [ADAPTED, KLEIN])
@pytest.mark.parametrize("options", [{}, {"prompt": "a castle"}])
async def test_a_blend_needs_no_prompt(harness, model, options):
    use_model(harness, model)
    images = await references(harness, 3)

    (ticket,) = await harness.jobs.submit(ANN, make_request(command="blend", options=options, images=images))

    assert (ticket.job.command, len(ticket.job.images)) == ("blend", 3)
    assert ticket.job.options["prompt"] == options.get("prompt", ticket.job.options["prompt"])


@pytest.mark.parametrize(
    ("model", "command", "count", "weight"),
    [(PLAIN, "imagine", 1, 1.0), (PLAIN, "blend", 2, 1.0), (KLEIN, "blend", 5, 1.0), (KLEIN, "imagine", 1, 0.5),
     (ADAPTED, "imagine", 1, float("nan")), (ADAPTED, "imagine", 5, 1.0)],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_and_nothing_is_charged(harness, model, command, count, weight):
    use_model(harness, model)
    images = await references(harness, count, weight=weight)

    with pytest.raises(InvalidOption):
        await harness.jobs.submit(ANN, make_request(command=command, images=images))

    assert not harness.store.called("accept_jobs")


async def test_same_style_imagines_a_prompt_with_the_jobs_options_and_its_picture(harness, chat):  # noqa: F811
    use_model(harness, ADAPTED)
    job = await painted(harness)

    await chat.refer(BOB, ORIGIN, job.id, "style", "a red owl --steps 9", picture=2)

    new = accepted(harness)
    assert job.result is not None
    [image] = new.images
    assert (image.id, image.role, image.kind) == (job.result.media[1].id, "reference", "style")
    assert (new.owner, new.parent, new.options["prompt"], new.options["steps"]) == ("bob", job.id, "a red owl", 9)
    assert (new.options["negative_prompt"], new.options["width"], new.options["count"]) == ("fog", 256, 1)
    assert new.options["seed"] != job.options["seed"]


async def test_same_subject_leaves_out_a_model_that_cannot_use_it(harness, chat):  # noqa: F811
    use_model(harness, replace(PLAIN, name="plain"))
    use_model(harness, replace(ADAPTED, name="adapted"))
    usecases: Any = SimpleNamespace(chat=chat)
    job = await painted(harness, options={"prompt": "a fox", "seed": 1, "model": "plain"}, model="plain")

    await run_worded_follow_up(usecases, ANN, ORIGIN, Button("subject", job.id, 1), "an owl", "key")

    assert accepted(harness).options["model"] == "adapted"
