"""Follow-ups from a chat's buttons and replies: the new job's owner, options and image."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from bot.chat.buttons import Button, offered_buttons
from bot.chat.follow_ups import JOB_ACTIONS, WORDED_ACTIONS, run_follow_up, run_worded_follow_up
from bot.errors import (
    Blocked,
    ImageGone,
    InvalidOption,
    JobNotFound,
    MediaNotFound,
    NotCancellable,
    NotYours,
    QueueFull,
)
from bot.jobs import BY_BOT, ImageRef, JobState, Result, StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING
from bot.prompts.resolver import PromptResolver
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardFolder
from bot.usecases import ChatUseCases, Moderation, UseCases
from tests.bot.usecases.test_jobs import ANN, BOB, Harness, upload
from tests.fakes import FakeOutbox, FakePrivacy, make_job, make_model, make_origin, media_id

ORIGIN = make_origin(platform="discord", space_id="guild", account_id="77", chat_id="5")
OPTIONS = {
    "prompt": "a fox",
    "negative_prompt": "fog",
    "seed": 7,
    "count": 2,
    "steps": 12,
    "guidance_scale": 3.5,
    "width": 256,
    "height": 128,
    "sampler": "",
    "model": "fox-diffusion",
}


@pytest.fixture
def harness():
    return Harness()


@pytest.fixture
def outbox():
    return FakeOutbox()


@pytest.fixture
def chat(harness, outbox):
    return ChatUseCases(
        jobs=harness.jobs,
        store=harness.store,
        media=harness.media,
        outbox=outbox,
        privacy=FakePrivacy(harness.store),
        models=harness.models,
    )


async def painted(harness, *, owner=ANN, pictures=(b"one", b"two"), size=(256, 128), **overrides):
    """A finished job of Ann's with its images."""
    made = []
    for data in pictures:
        image = await upload(harness, owner, data, *size)
        made.append(StoredImage(id=image.id, media_type="image/png", width=size[0], height=size[1]))
    plain = {"options": OPTIONS, "state": JobState.DELIVERED, "result": Result(media=tuple(made), seed=7)}
    job = make_job(owner=owner.id, **{**plain, **overrides})
    harness.store.add(job)
    return job


async def answered(harness, *, command="ask", text="a red one", owner=ANN, **overrides):
    """A finished job of Ann's about her photo."""
    photo = await upload(harness, owner)
    of_its_own: dict[str, dict[str, Any]] = {"ask": {"question": "what is it?"}, "describe": {"count": 2}}
    options = of_its_own.get(command, {})
    options |= {"num_beams": 1, "seed": 3, "max_new_tokens": 20, "min_new_tokens": 0, "model": "fox-diffusion"}
    task = VISUAL_QUESTION_ANSWERING if command == "ask" else IMAGE_TO_TEXT
    plain = {"command": command, "options": options, "images": (photo,), "task": task}
    job = make_job(owner=owner.id, state=JobState.DELIVERED, result=Result(text=text), **{**plain, **overrides})
    harness.store.add(job)
    return job


def accepted(harness):
    """The last job that was accepted."""
    (new,) = harness.store.called("accept_jobs")[-1].jobs
    return new


# ---------------------------------------------------------------- going on


async def test_a_reroll_is_the_same_with_another_seed_and_the_pressers_own(harness, chat):
    job = await painted(harness)
    (ticket,) = await chat.reroll(BOB, ORIGIN, job.id)
    new = accepted(harness)

    assert (ticket.job.owner, ticket.job.parent, ticket.job.origin) == ("bob", job.id, ORIGIN)
    assert new.wants_delivery
    assert {**new.options, "seed": 7, "sampler": ""} == OPTIONS
    assert new.options["seed"] != 7


async def test_a_reroll_draws_new_wildcards_and_a_variation_keeps_the_images_prompt(harness, chat, tmp_path):
    (tmp_path / "animal.txt").write_text("\n".join(f"animal{n}" for n in range(1000)))
    harness.wording = PromptResolver(
        styles={"ink": StyleSettings(prompt="ink {prompt}")}, wildcards=WildcardFolder(tmp_path)
    )
    chat = replace(chat, jobs=harness.build())
    drawn = {"prompt": "ink a fox", "prompts": ["ink a fox", "ink a cat"]}
    asked = {"prompt": "a __animal__", "negative_prompt": "fog", "style": "ink"}
    job = await painted(harness, options={**OPTIONS, **drawn, "asked": asked})

    await chat.reroll(BOB, ORIGIN, job.id)
    again = accepted(harness)
    await chat.vary(BOB, ORIGIN, job.id, picture=2)
    varied = accepted(harness)

    assert again.options["prompt"].startswith("ink a animal")
    assert again.options["prompts"][0] != again.options["prompts"][1]
    assert again.options["asked"] == asked
    assert varied.options["prompt"] == "ink a cat"
    assert "asked" not in varied.options


async def test_a_reroll_of_what_began_with_a_picture_shares_it_and_keeps_its_size(harness, chat):
    photo = await upload(harness, ANN)
    job = await painted(harness, images=(photo,), options={**OPTIONS, "strength": 0.4})
    await chat.reroll(BOB, ORIGIN, job.id)
    new = accepted(harness)

    assert new.images == (replace(photo, author="ann"),)
    assert (new.options["strength"], new.options["width"], new.options["height"]) == (0.4, 256, 128)
    assert ("bob", photo.id) in harness.media.images
    assert harness.media.called("write_file") == []
    assert len(harness.media.called("add_upload")) == 3


async def test_a_failed_job_can_be_tried_again(harness, chat):
    job = make_job(state=JobState.FAILED, options=OPTIONS)
    harness.store.add(job)
    (ticket,) = await chat.reroll(ANN, ORIGIN, job.id)

    assert ticket.job.options["prompt"] == "a fox"


async def test_an_answer_can_be_asked_for_again(harness, chat):
    job = await answered(harness)
    await chat.reroll(BOB, ORIGIN, job.id)

    assert accepted(harness).options["question"] == "what is it?"
    assert accepted(harness).images == tuple(replace(image, author="ann") for image in job.images)


async def test_an_old_button_works_when_its_model_is_gone_or_supports_less(harness, chat):
    gone = await painted(harness, model="owl", options={**OPTIONS, "model": "owl", "steps": 149})
    harness.models._specs["fox-diffusion"] = make_model(
        max_steps=50, max_size=200, steps=10, min_size=8, width=64, height=64
    )
    await chat.reroll(ANN, ORIGIN, gone.id)
    new = accepted(harness)

    assert (new.model, new.options["steps"], new.options["negative_prompt"]) == ("fox-diffusion", 10, "fog")
    assert (new.options["width"], new.options["height"]) == (64, 64)


async def test_a_variation_starts_from_the_picture_half_way(harness, chat):
    job = await painted(harness)
    await chat.vary(BOB, ORIGIN, job.id, picture=2)
    new = accepted(harness)

    assert new.images == (ImageRef(media_id(b"two"), "init", BY_BOT),)
    assert (new.options["strength"], new.options["count"], new.options["prompt"]) == (0.5, 1, "a fox")
    assert (new.options["width"], new.options["height"], new.options["steps"]) == (256, 128, 12)
    assert new.options["seed"] != 7


async def test_a_variation_is_refused_where_no_model_starts_from_pictures(harness, chat):
    job = await painted(harness)
    harness.models._specs["fox-diffusion"] = make_model(tasks=(TEXT_TO_IMAGE,))

    with pytest.raises(InvalidOption) as refused:
        await chat.vary(ANN, ORIGIN, job.id)
    assert refused.value.problem == "no_model"


async def test_a_variation_takes_the_picture_as_a_reference_where_no_model_starts_from_one(harness, chat):
    job = await painted(harness)
    harness.models._specs["fox-diffusion"] = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE))

    await chat.vary(BOB, ORIGIN, job.id, how="strong")

    new = accepted(harness)
    assert (new.command, new.task, new.options["prompt"]) == ("edit", IMAGE_TEXT_TO_IMAGE, "a fox")


async def test_a_model_that_starts_from_pictures_varies_what_one_with_references_made(harness, chat):
    owl = make_model(name="owl", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE))
    harness.models._specs = {"owl": owl, **harness.models._specs}
    job = await painted(harness, model="owl", options={**OPTIONS, "model": "owl"})

    await chat.vary(ANN, ORIGIN, job.id)

    assert (accepted(harness).model, accepted(harness).options["strength"]) == ("fox-diffusion", 0.5)


async def test_another_model_varies_what_the_one_that_made_it_cannot(harness, chat):
    harness.models._specs = {"owl": make_model(name="owl", tasks=(TEXT_TO_IMAGE,)), **harness.models._specs}
    job = await painted(harness, model="owl", options={**OPTIONS, "model": "owl"})
    await chat.vary(ANN, ORIGIN, job.id)

    assert accepted(harness).model == "fox-diffusion"


async def test_a_picture_is_refined_at_twice_its_size_by_the_model_that_made_it(harness, chat):
    harness.models._specs = {"owl": make_model(name="owl"), **harness.models._specs}
    job = await painted(harness)
    await chat.upscale(BOB, ORIGIN, job.id)
    new = accepted(harness)

    assert (new.command, new.model, new.options["method"]) == ("upscale", "fox-diffusion", "refine")
    assert (new.options["width"], new.options["height"], new.options["prompt"]) == (512, 256, "a fox")


async def test_a_picture_too_large_for_its_model_goes_to_another_or_is_resized(harness, chat):
    job = await painted(harness, size=(800, 800))
    harness.models.set_capabilities("fox-diffusion", {"refines_in_tiles": False})
    await chat.upscale(ANN, ORIGIN, job.id)
    resized = accepted(harness)
    harness.models._specs["large"] = make_model(name="large", max_size=4096)
    await chat.upscale(ANN, ORIGIN, job.id)
    refined = accepted(harness)

    assert (resized.options["method"], resized.options["width"], resized.cost) == ("resize", 1600, 0.0)
    assert (refined.options["method"], refined.model) == ("refine", "large")


async def test_a_question_is_about_the_picture_that_was_made(harness, chat):
    job = await painted(harness)
    await chat.ask(BOB, ORIGIN, job.id, "what colour?", picture=2)
    new = accepted(harness)

    assert (new.command, new.options["question"]) == ("ask", "what colour?")
    assert [image.id for image in new.images] == [media_id(b"two")]


async def test_a_question_about_an_answer_is_about_the_same_picture_at_any_depth(harness, chat):
    job = await answered(harness)
    photo = job.images[0].id
    for _ in range(5):
        (ticket,) = await chat.ask(BOB, ORIGIN, job.id, "and what else?")
        assert [image.id for image in ticket.job.images] == [photo]
        job = ticket.job

    assert len(harness.media.called("add_upload")) == 1


async def test_a_question_to_a_model_that_sees_several_pictures_is_about_all_of_the_job(harness, chat):
    job = await painted(harness)
    tasks = (IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING)
    for able, asked in ((tasks, [b"one", b"two"]), (tasks[1:], [b"one"])):
        harness.models._specs["fox-diffusion"] = make_model(tasks=able)
        (ticket,) = await chat.ask(BOB, ORIGIN, job.id, "which is better?")

        assert [image.id for image in ticket.job.images] == [media_id(data) for data in asked]
        assert ticket.job.parent == job.id


@pytest.mark.parametrize(("default_chats", "model"), [(False, "gemma"), (True, "fox-diffusion")])
async def test_a_conversation_stays_with_a_model_that_chats_where_the_default_does_not(
    harness, chat, default_chats, model
):
    tasks = (IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING)
    harness.models._specs["fox-diffusion"] = make_model(tasks=tasks if default_chats else tasks[1:])
    harness.models._specs["gemma"] = make_model(name="gemma", tasks=tasks)
    job = await answered(harness, model="gemma")

    for _ in range(2):
        (ticket,) = await chat.ask(BOB, ORIGIN, job.id, "and what else?")
        assert ticket.job.model == model
        job = ticket.job


async def test_an_edit_uses_the_image_and_the_instruction(harness, chat):
    job = await painted(harness)
    await chat.edit(BOB, ORIGIN, job.id, "make it blue")

    assert (accepted(harness).command, accepted(harness).options["prompt"]) == ("edit", "make it blue")


async def test_an_edit_is_refused_without_a_model_that_supports_instructions(harness, chat):
    job = await painted(harness)
    harness.models._specs["fox-diffusion"] = make_model(tasks=(TEXT_TO_IMAGE,))

    with pytest.raises(InvalidOption) as refused:
        await chat.edit(ANN, ORIGIN, job.id, "make it blue")
    assert (refused.value.problem, refused.value.value) == ("no_model", "edit")


async def test_a_description_is_imagined_with_ones_own_defaults(harness, chat):
    harness.people.stored["bob"] = {"steps": 33}
    job = await answered(harness, command="describe", text="a fox\na red fox")
    await chat.pick(BOB, ORIGIN, job.id, 2)
    new = accepted(harness)

    assert (new.command, new.options["prompt"], new.options["steps"], new.parent) == (
        "imagine",
        "a red fox",
        33,
        job.id,
    )
    assert new.images == ()


@pytest.mark.parametrize("number", [0, 3, -1])
async def test_a_line_that_is_not_there_cannot_be_picked(harness, chat, number):
    job = await answered(harness, command="describe", text="a fox\na red fox")

    with pytest.raises(JobNotFound):
        await chat.pick(ANN, ORIGIN, job.id, number)


async def test_only_descriptions_are_picked_from(harness, chat):
    job = await answered(harness)

    with pytest.raises(JobNotFound):
        await chat.pick(ANN, ORIGIN, job.id, 1)


async def test_a_deleted_image_is_reported_in_a_sentence(harness, chat):
    job = await painted(harness)
    harness.media.images.clear()
    harness.media.files.clear()

    for going_on in (chat.vary, chat.upscale):
        with pytest.raises(ImageGone):
            await going_on(ANN, ORIGIN, job.id)
    with pytest.raises(ImageGone):
        await chat.ask(ANN, ORIGIN, job.id, "what?")
    with pytest.raises(ImageGone):
        await chat.read_originals(ANN, job.id)
    with pytest.raises(ImageGone):
        await chat.ask(ANN, ORIGIN, job.id, "what?", picture=9)
    assert harness.store.called("accept_jobs") == []


async def test_an_unknown_job_is_not_found(chat):
    with pytest.raises(JobNotFound):
        await chat.reroll(ANN, ORIGIN, "a" * 16)


async def test_the_pressers_limits_hold(harness, chat):
    job = await painted(harness)
    harness.store.failures["accept_jobs"] = [QueueFull(limit=1, retry_after_s=3)]

    with pytest.raises(QueueFull):
        await chat.reroll(BOB, ORIGIN, job.id)


# ---------------------------------------------------------------- the same press twice


async def test_the_same_press_gives_the_same_job_whatever_has_become_of_the_old_one(harness, chat):
    job = await painted(harness)
    (first,) = await chat.vary(BOB, ORIGIN, job.id, key="discord:interaction:1")
    harness.media.images.clear()
    del harness.store.jobs[job.id]
    (again,) = await chat.vary(BOB, ORIGIN, job.id, key="discord:interaction:1")

    assert again.job.id == first.job.id
    assert len(harness.store.called("accept_jobs")) == 1


async def test_two_concurrent_presses_give_one_job(harness, chat):
    job = await painted(harness)
    both = await asyncio.gather(*(chat.reroll(BOB, ORIGIN, job.id, key="discord:interaction:1") for _ in range(2)))

    assert both[0][0].job.id == both[1][0].job.id


async def test_another_press_gives_another_job(harness, chat):
    job = await painted(harness)
    first, second = [await chat.reroll(BOB, ORIGIN, job.id, key=f"discord:interaction:{n}") for n in range(2)]

    assert first[0].job.id != second[0].job.id


# ---------------------------------------------------------------- looking and one's own


async def test_originals_are_for_everyone_who_sees_the_message(harness, chat):
    job = await painted(harness)

    assert [file.data for file in await chat.read_originals(BOB, job.id)] == [b"one", b"two"]


async def test_a_message_leads_to_its_job(harness, chat, outbox):
    job = await painted(harness)
    outbox.jobs[job.id] = job
    await chat.remember_message(job, "discord", "5:6")

    assert await chat.job_of_message("discord", "5:6") == job
    assert await chat.job_of_message("telegram", "5:6") is None


async def test_pictures_of_a_job_can_be_used_in_ones_own_command(harness, chat):
    made, asked = await painted(harness), await answered(harness)

    assert await chat.share_images(BOB, made.id) == tuple(
        ImageRef(media_id(one), author=BY_BOT) for one in (b"one", b"two")
    )
    anns = tuple(replace(image, author="ann") for image in asked.images)
    assert await chat.share_images(BOB, asked.id) == anns == await chat.images_of(asked)
    assert {media for owner, media in harness.media.images if owner == "bob"} == {
        media_id(b"one"),
        media_id(b"two"),
        media_id(b"photo"),
    }


async def test_only_its_person_may_cancel_a_job(harness, chat):
    job = make_job()
    harness.store.add(job)
    with pytest.raises(NotYours):
        await chat.cancel_job(BOB, job.id)
    ticket = await chat.cancel_job(ANN, job.id)

    assert ticket.job.state is JobState.CANCELLED
    with pytest.raises(JobNotFound):
        await chat.cancel_job(ANN, "a" * 16)


async def test_what_is_done_cannot_be_cancelled(harness, chat):
    job = await painted(harness)

    with pytest.raises(NotCancellable):
        await chat.cancel_job(ANN, job.id)


async def test_only_its_owner_may_delete_a_job_and_the_owner_stays_unknown(harness, chat):
    job = await painted(harness)
    with pytest.raises(JobNotFound):
        await chat.delete_job(BOB, job.id)
    deleted = await chat.delete_job(ANN, job.id)

    assert deleted == job
    assert job.id not in harness.store.jobs


async def test_deleting_a_running_job_stops_it(harness, chat):
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)
    await chat.delete_job(ANN, job.id)

    assert harness.interrupted == [job.id]


async def test_every_button_that_is_offered_does_something(harness, chat):
    """Every button that is offered under a job's message works."""
    harness.models._specs["fox-diffusion"] = make_model(step_s=1.0, overhead_s=0.0, steps=10, max_images=4)
    usecases = cast(UseCases, SimpleNamespace(chat=chat))
    words = {"region": "the hat: a crown", "ask": "what?"}
    jobs = [
        await painted(harness),
        await painted(harness, pictures=(b"alone",)),
        await painted(harness, command="upscale", pictures=(b"larger",)),
        await painted(harness, command="pan", pictures=(b"longer",), images=(await upload(harness, ANN),)),
        await answered(harness),
        await answered(harness, command="caption"),
        await answered(harness, command="describe", text="a fox\na red fox"),
    ]
    for job in jobs:
        alone = offered_buttons(job, harness.models, picture=2) if job.has_several_pictures else ()
        for button in sorted([*offered_buttons(job, harness.models), *alone], key=lambda one: one.action == "delete"):
            match button.action:
                case action if action in JOB_ACTIONS - {"pick"}:
                    assert await run_follow_up(usecases, BOB, ORIGIN, button, button.encode())
                case "favourite" | "show":
                    pass  # tests/bot/usecases/test_pictures.py
                case "delete" if button.number:
                    pass  # the same
                case "pick":
                    assert await chat.pick(BOB, ORIGIN, job.id, button.number)
                case "original":
                    assert await chat.read_originals(BOB, job.id)
                case "delete":
                    assert await chat.delete_job(ANN, job.id)
                case action if action in WORDED_ACTIONS:
                    text = words.get(action, "an owl")
                    assert await run_worded_follow_up(usecases, BOB, ORIGIN, button, text, button.encode())
                case action:
                    pytest.fail(f"{action} under a finished job")


# ---------------------------------------------------------------- one of several pictures


@pytest.mark.parametrize(("how", "strength"), [("", 0.5), ("subtle", 0.3), ("strong", 0.75)])
async def test_a_picture_is_varied_as_much_as_asked(harness, chat, how, strength):
    job = await painted(harness)
    [ticket] = await chat.vary(BOB, ORIGIN, job.id, picture=2, how=how)

    assert ticket.job.options["strength"] == strength
    assert ticket.job.images[0].id == job.result.media[1].id


@pytest.mark.parametrize(
    ("command", "arg", "option"),
    [
        ("zoom", "15", {"factor": 1.5}),
        ("zoom", "20", {"factor": 2.0}),
        ("pan", "up", {"direction": "up"}),
        ("square", "", {}),
    ],
)
async def test_a_picture_grows_with_its_prompt_and_its_options(harness, chat, command, arg, option):
    job = await painted(harness, options={**OPTIONS, "prompt": "a fox", "region": "the hat", "tiling": True})
    usecases = cast(UseCases, SimpleNamespace(chat=chat))
    button = Button(command, job.id, 2, arg)
    [ticket] = await run_follow_up(usecases, BOB, ORIGIN, button, "press")

    made, options = ticket.job, ticket.job.options
    assert (made.command, made.owner, made.parent) == (command, BOB.id, job.id)
    assert [(one.id, one.role) for one in made.images] == [(job.result.media[1].id, "init")]
    assert option.items() <= options.items()
    assert {name: options[name] for name in ("prompt", "negative_prompt", "steps", "guidance_scale", "model")} == {
        name: OPTIONS[name] for name in ("prompt", "negative_prompt", "steps", "guidance_scale", "model")
    }
    assert (options["count"], options["strength"]) == (1, 0.8)
    assert options["seed"] != 7
    assert "region" not in options
    [again] = await run_follow_up(usecases, BOB, ORIGIN, button, "press")
    assert again.job.id == made.id


async def test_what_grows_from_an_edit_is_not_asked_for_by_its_instruction(harness, chat):
    job = await painted(harness, command="edit", pictures=(b"edited",), options={**OPTIONS, "prompt": "make it red"})
    [ticket] = await chat.outpaint(BOB, ORIGIN, job.id, "zoom", {"factor": 2.0})

    assert ticket.job.options["prompt"] == ""


async def test_a_picture_of_a_model_that_cannot_paint_around_it_grows_by_one_that_can(harness, chat):
    job = await painted(harness, options={**OPTIONS, "model": "gone"})
    [ticket] = await chat.outpaint(BOB, ORIGIN, job.id, "pan", {"direction": "left"})

    assert ticket.job.model == "fox-diffusion"


async def test_a_press_for_a_canvas_that_cannot_be_is_refused_and_charged_to_nobody(harness, chat):
    job = await painted(harness, size=(300, 100))
    jobs = len(harness.store.jobs)

    with pytest.raises(InvalidOption, match="canvas_size"):
        await chat.outpaint(BOB, ORIGIN, job.id, "pan", {"direction": "left"})
    with pytest.raises(ImageGone):
        await chat.outpaint(BOB, ORIGIN, job.id, "square", {}, picture=3)
    assert len(harness.store.jobs) == jobs


async def test_remix_changes_the_words_and_keeps_the_rest(harness, chat):
    job = await painted(harness)
    [ticket] = await chat.remix(BOB, ORIGIN, job.id, "an owl", picture=2)

    kept = {name: ticket.job.options[name] for name in ("negative_prompt", "steps", "guidance_scale", "width")}
    assert kept == {name: OPTIONS[name] for name in kept}
    assert (ticket.job.options["prompt"], ticket.job.options["seed"], ticket.job.options["count"]) == ("an owl", 8, 1)
    assert (ticket.job.owner, ticket.job.parent) == (BOB.id, job.id)


async def test_a_deleted_picture_is_gone_and_the_others_keep_their_numbers(harness, chat):
    job = await painted(harness)
    left = replace(job, result=replace(job.result, media=job.result.media[1:]))
    harness.store.jobs[job.id] = left

    [ticket] = await chat.vary(BOB, ORIGIN, job.id, picture=2)
    assert ticket.job.images[0].id == job.result.media[1].id
    for gone in (1, 3):
        with pytest.raises(ImageGone):
            await chat.vary(BOB, ORIGIN, job.id, picture=gone)


async def test_a_message_may_show_only_one_picture(harness, chat, outbox):
    job = await painted(harness)
    outbox.jobs[job.id] = job
    await chat.remember_message(job, "discord", "5:6", picture=2)

    assert await chat.picture_of_message("discord", "5:6") == 2
    assert await chat.picture_of_message("discord", "5:7") == 0
    assert [one.id for one in await chat.share_images(BOB, job.id, picture=2)] == [job.result.media[1].id]
    assert [one.data for one in await chat.read_originals(BOB, job.id, picture=2)] == [b"two"]


@pytest.mark.parametrize(
    ("typed", "prompt"), [("an owl --steps 9 --seed 3", "an owl"), ("--seed 3 --steps 9", "a fox")]
)
async def test_remix_takes_flags(harness, chat, typed, prompt):
    job = await painted(harness)
    [ticket] = await chat.remix(BOB, ORIGIN, job.id, typed, picture=2)
    options = ticket.job.options

    assert (options["prompt"], options["steps"], options["seed"], options["count"]) == (prompt, 9, 3, 1)
    with pytest.raises(InvalidOption):
        await chat.remix(BOB, ORIGIN, job.id, "an owl --stebs 9")


async def test_flags_that_were_words_remain_words(harness, chat):
    job = await painted(harness, options={**OPTIONS, "prompt": "a fox --ar 3"})
    [ticket] = await chat.remix(BOB, ORIGIN, job.id, "an owl --ar 3")

    assert ticket.job.options["prompt"] == "an owl --ar 3"


async def test_pictures_that_retention_deleted_are_not_replaced_by_the_input_image(harness, chat):
    job = await painted(harness)
    harness.store.add(replace(job, images=(ImageRef(job.result.media[0].id),), result=Result(places=2)))

    with pytest.raises(ImageGone):
        await chat.vary(BOB, ORIGIN, job.id, picture=1)
    with pytest.raises(ImageGone):
        await chat.require_image(job.id, 1)


@pytest.mark.parametrize("follow_up", ["reroll", "remix", "upscale"])
async def test_a_refused_follow_up_gives_nobody_the_picture(harness, chat, follow_up):
    harness.moderation.check_authors = Moderation.check_authors.__get__(
        SimpleNamespace(
            space_rules=AsyncMock(return_value=SimpleNamespace(edit_others=False)),
            people=SimpleNamespace(names_of=AsyncMock(return_value=frozenset())),
        )
    )
    photo = await upload(harness, ANN, b"photo")
    images = (ImageRef(photo.id, author="88"),)
    command = {"command": "preview"} if follow_up == "upscale" else {"task": "image-to-image"}
    job = await painted(harness, images=images, **command)
    words = ["a cat"] if follow_up == "remix" else []

    with pytest.raises(Blocked):
        await getattr(chat, follow_up)(BOB, ORIGIN, job.id, *words)

    for image in (photo, *job.result.media):
        with pytest.raises(MediaNotFound):
            await harness.media.get_image(image.id, BOB.id)


async def test_deleting_a_job_drops_the_maps_of_pictures(harness, chat):
    dropped = []
    harness.jobs.forget_maps = lambda: dropped.append(1)
    job = await painted(harness)

    await chat.delete_job(ANN, job.id)

    assert dropped == [1]
