"""The conversation: placeholder, progress, result, replies."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.discord import texts
from bot.jobs import Job, JobState
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.ports import Task
from tests.discord.app_fixture import MODELS, DiscordApp, open_app
from tests.discord.loopback.discord_server_state import Attachment, Message
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, is_finished, until
from tests.web.fake_pool import picture


def a_photo(server: Loopback, name: str = "photo.png", seed: int = 3) -> Attachment:
    return server.state.file(name, picture(seed, 48, 32))


async def imagine_and_wait(ann: SimulatedUser, prompt: str = "a red fox", **options: object) -> Message:
    seen = len(ann.channel.from_bot)
    ann.slash("imagine", prompt=prompt, **options)
    return await ann.finished(seen + 1)


async def imagined_late(app: DiscordApp, ann: SimulatedUser) -> tuple[Message, Message]:
    """A placeholder that Discord lets nobody edit any more, and the new message that has the result."""
    app.server.state.edits_after_an_hour = 0
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    await until(lambda: placeholder.edits, "progress")
    app.server.state.advance_clock(3700)
    app.pool.go_on.set()
    await until(lambda: any(is_finished(one) for one in ann.channel.from_bot), "a new message")
    return placeholder, ann.channel.from_bot[-1]


# ---------------------------------------------------------------- placeholder and result


async def test_a_prompt_becomes_an_ordinary_message_with_the_picture(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = ann.slash("imagine", prompt="a red fox", seed=7)

    message = await ann.finished()

    assert asked.answers[0] == {"type": 5, "data": {"flags": 64}}
    assert (asked.answered_after_s or 9) < 3
    assert message.webhook is None
    assert message.attachments[0].data.startswith(b"\x89PNG")
    assert message.attachments[0].description in ("a red fox", "It is a picture")
    assert "a red fox" in message.content
    offered = ["reroll", "vary", "upscale", "ask", "original", "remix", "style", "subject"]
    offered += ["zoom.15", "zoom.20", "pan.left", "pan.right", "pan.up", "pan.down", "favourite", "delete", "report"]
    assert [one.split(":")[1] for one in message.buttons] == offered
    await until(lambda: not asked.messages, "the deferral to go")


async def test_a_result_that_is_ready_before_its_placeholder_is_posted_directly(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    app.tasks[1].cancel()  # the deliverer
    ann.slash("caption", image=a_photo(app.server))
    person = await app.person(ann.person.id)
    while not (await app.application.usecases.jobs.list_tickets(person, state=JobState.RENDERED))[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    app.tasks[1] = asyncio.create_task(app.application.deliverer.run_forever())
    await ann.finished()

    posted = [call.body["content"] for call in app.server.state.sent("POST", "/messages")]
    assert len(posted) == 1
    assert posted[0].startswith("It is a picture")


async def test_the_placeholder_says_where_it_stands_and_can_only_be_cancelled(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    for _ in range(5):
        ann.slash("imagine", prompt="a slow fox", steps=50)

    last = await ann.posted(5)

    assert all(one.startswith("v1:cancel:") for one in last.buttons)
    assert last.content.startswith(("In the queue", "Starting", "Working"))
    assert [one.nonce for one in ann.channel.from_bot if len(one.nonce or "") > 25] == []
    assert all(call.body["enforce_nonce"] for call in app.server.state.sent("POST", "/messages"))


async def test_progress_comes_with_a_preview_and_ends_before_the_result(app: DiscordApp, ann: SimulatedUser) -> None:
    there = ann.in_channel(app.server.state.channel(nsfw=True))
    there.slash("imagine", prompt="a slow fox", steps=10)
    message = await there.posted()

    await until(lambda: message.attachments, "a preview")
    shown = message.attachments[0]
    app.pool.go_on.set()
    await there.finished()

    assert shown.filename == "preview.jpg"
    assert any("%" in one["content"] for one in message.edits)
    assert [one.filename.endswith(".png") for one in message.attachments] == [True]
    assert is_finished(message)


async def test_an_answer_grows_in_its_message_with_nothing_but_cancel_under_it(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.slash("ask", question="slow *it* is", image=a_photo(app.server, "photo.png"))
    message = await ann.posted()

    await until(lambda: "It is\u2026" in message.content, "the first words")
    buttons, content = message.buttons, message.content
    app.pool.go_on.set()
    await ann.finished()

    assert content.startswith("slow \\*it\\* is\nIt is\u2026")
    assert all(one.startswith("v1:cancel:") for one in buttons)
    assert "It is slow" in message.content
    assert "\u2026" not in message.content


async def test_a_model_that_loads_is_told_with_the_time_left(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a fox loads", steps=8)
    message = await ann.posted()
    await until(lambda: "Loading" in message.content, "the load")
    shown = message.content
    app.pool.go_on.set()
    await ann.finished()

    assert re.search(r"Loading the model, about \d\d s left\.", shown)
    assert "Loading" not in message.content


async def test_a_failure_says_so_calmly_and_offers_another_try(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann, "fail")

    assert "Something went wrong" in message.content
    assert "inner reason" not in message.content
    assert [one.split(":")[1] for one in message.buttons] == ["reroll"]


async def test_several_pictures_come_in_one_message(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann, count=4)

    assert len(message.attachments) == 4


async def test_a_picture_can_start_from_an_attachment(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann, image=a_photo(app.server), strength=0.4)

    assert message.attachments
    assert app.server.state.sent("GET", "/users/@me")


async def test_people_wait_for_each_other_in_no_channel(app: DiscordApp, ann: SimulatedUser) -> None:
    other = ann.in_channel(app.server.state.channel())
    ann.slash("imagine", prompt="a slow fox", steps=10)

    await imagine_and_wait(other)

    assert not is_finished(await ann.posted())


# ---------------------------------------------------------------- asking


async def test_a_question_is_answered_in_words(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("ask", question="what is it?", image=a_photo(app.server))

    message = await ann.finished()

    assert "It is what is it?" in message.content
    assert not message.attachments


async def test_a_reply_asks_about_the_same_picture_at_any_depth_with_the_thread_so_far(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Task] = []
    run_task = app.pool.run_task

    def run(task: Task) -> AsyncGenerator[Any, None]:
        tasks.append(task)
        return run_task(task)

    monkeypatch.setattr(app.pool, "run_task", run)
    made = await imagine_and_wait(ann)
    ann.write_message("what is it?", reply_to=made)
    first = await ann.finished(2)
    bob.write_message("and its colour?", reply_to=first)
    second = await ann.finished(3)
    ann.write_message("is it big?", reply_to=second)
    third = await ann.finished(4)

    jobs = [await job_of(app, one) for one in (made, first, second, third)]

    assert all([one.id for one in job.images] == [jobs[0].result.media[0].id] for job in jobs[1:])
    assert second.reply_to is not None
    assert app.server.rest.fetched == []
    assert jobs[2].owner == (await app.person(bob.person.id)).id
    threads = [task.options.get("thread", ()) for task in tasks if task.command == "ask"]
    assert [[turn["question"] for turn in thread] for thread in threads] == [
        [],
        ["what is it?"],
        ["what is it?", "and its colour?"],
    ]


async def job_of(app: DiscordApp, message: Message) -> Job:
    """Once it is recorded that the message arrived."""
    while True:
        job = await app.application.usecases.chat.job_of_message("discord", f"{message.channel.id}:{message.id}")
        if job is not None and (job.state is JobState.DELIVERED or not is_finished(message)):
            return job
        await asyncio.sleep(0.02)


async def test_a_reply_that_is_no_question_offers_to_ask(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    wish = ann.write_message("with a green hat", reply_to=made)

    offer = await ann.posted(2)
    ann.press(offer, "ask")
    answer = await ann.finished(3)

    assert offer.reply_to == wish.id
    assert "with a green hat" in answer.content


async def test_the_ask_button_opens_a_field_for_the_question(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)

    opened = bob.press(made, "ask")
    sent = await bob.submit(opened, "what is it?")
    answer = await ann.finished(2)

    assert opened.answers[0]["data"]["custom_id"] == made.button("ask")
    assert "It is what is it?" in answer.content
    await until(lambda: not sent.messages, "the deferral to go")


async def test_a_photo_in_a_mention_is_asked_about_or_described(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.write_message("what is it?", a_photo(app.server))
    first = await ann.finished()
    ann.write_message("", a_photo(app.server))
    second = await ann.finished(2)

    assert "It is what is it?" in first.content
    assert "It is a picture" in second.content


async def test_a_reply_with_a_photo_of_its_own_is_about_that_photo(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    ann.write_message("what is it?", a_photo(app.server, seed=9), reply_to=made)

    answer = await ann.finished(2)

    job = await job_of(app, answer)
    made_by = await job_of(app, made)
    assert job.images[0].id != made_by.result.media[0].id


async def test_a_photo_that_discord_hides_from_bots_is_asked_about_by_the_menu(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    photo = bob.write_message("look", a_photo(app.server), mention=False)
    ann.write_message("what is it?", reply_to=photo)
    ann.channel.messages[max(ann.channel.messages)].mentions.append(app.server.state.bot)
    hint = await asked_by_mention(ann, photo)

    opened = ann.menu(texts.ASK_ABOUT, photo)
    await ann.submit(opened, "what is it?")
    answer = await ann.finished(2)

    assert opened.modal is not None
    assert opened.modal["components"][0]["label"] == "Your question"
    assert texts.ASK_ABOUT in hint.content
    assert "It is what is it?" in answer.content


async def asked_by_mention(ann: SimulatedUser, photo: Message) -> Message:
    """A reply to somebody else's message that names the bot."""
    state = ann.server.state
    mentions = [state.bot, photo.author]
    made = state.post(ann.channel, ann.person, f"<@{state.bot.id}> what is it?", reply_to=photo.id, mentions=mentions)
    payload = made.json()
    payload["referenced_message"] = photo.json(is_blank=state.is_blank(photo), nested=False)
    ann.server.gateway.dispatch("MESSAGE_CREATE", payload)
    return await ann.posted(len(ann.channel.from_bot) + 1)


async def test_the_menu_captions_any_picture(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    photo = bob.write_message("look", a_photo(app.server), mention=False)

    ann.menu(texts.CAPTION_THIS, photo)

    assert "It is a picture" in (await ann.finished()).content


async def test_the_menu_varies_a_picture_of_the_bot_directly_and_another_with_a_prompt(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    space = {"platform": "discord", "space_id": str(ann.channel.guild.id)}
    await app.application.usecases.moderation.set_policy(is_admin=True, **space, edit_others=True)
    made = await imagine_and_wait(ann)
    photo = bob.write_message("look", a_photo(app.server), mention=False)

    ann.menu(texts.VARY_THIS, made)
    own = await ann.finished(2)
    await ann.submit(ann.menu(texts.VARY_THIS, photo), "as a painting")
    other = await ann.finished(3)

    assert own.attachments
    assert "as a painting" in other.content


async def test_a_forwarded_picture_can_be_asked_about(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    photo = Message(1, ann.channel, bob.person, attachments=[a_photo(app.server)])
    forward = app.server.state.post(ann.channel, bob.person, snapshots=[photo])

    ann.menu(texts.CAPTION_THIS, forward)

    assert "It is a picture" in (await ann.finished()).content


async def test_a_private_chat_needs_no_mention(app: DiscordApp, ann: SimulatedUser) -> None:
    private = ann.in_channel(app.server.state.dm(ann.person))
    private.slash("imagine", prompt="a fox")
    made = await private.finished()
    private.write_message("what is it?", reply_to=made)

    answer = await private.finished(2)

    assert "It is what is it?" in answer.content
    assert "for <@" not in made.content


# ---------------------------------------------------------------- describing and editing


async def test_a_description_becomes_a_picture_by_its_button(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    ann.slash("describe", image=a_photo(app.server))
    described = await ann.finished()

    bob.press(described, "pick")
    made = await ann.finished(2)

    assert described.content.startswith("1")
    assert described.button("pick").endswith(":1")
    job = await job_of(app, made)
    assert job.command == "imagine"
    assert job.options["prompt"] in described.content


async def test_a_wish_about_a_picture_is_edited_where_a_model_can(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    editor = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,))
    async with open_app(data_dir, server, with_models=(*MODELS, editor)) as app:
        app.start()
        await app.wait_until_ready()
        made = await imagine_and_wait(ann)
        ann.write_message("give it a green hat", reply_to=made)
        offer = await ann.posted(2)

        ann.press(offer, "edit")

        edited = await job_of(app, await ann.finished(3))
        assert [one.split(":")[1] for one in offer.buttons] == ["edit", "ask"]
        assert edited.command == "edit"
        assert edited.options["prompt"] == "give it a green hat"


async def test_an_edit_takes_pictures_to_refer_to_where_the_model_does(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    editor = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=3)
    async with open_app(data_dir, server, with_models=(*MODELS, editor)) as app:
        app.start()
        await app.wait_until_ready()
        first, second, third, fourth = (a_photo(server, f"{seed}.png", seed) for seed in range(4))
        ann.slash("edit", prompt="put them together", image=first, image2=second, image4=third)

        edited = await job_of(app, await ann.finished())
        asked = ann.slash("edit", prompt="all", image=first, image2=second, image3=third, image4=fourth)
        assert "4 pictures are too many; the limit here is 3." in await ann.private_reply(asked)
        assert [image.role for image in edited.images] == ["init", "reference", "reference"]
        assert len({image.id for image in edited.images}) == 3


async def test_editing_is_refused_in_a_sentence_where_no_model_can(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = ann.slash("edit", prompt="make it green", image=a_photo(app.server))

    assert "I can't edit pictures" in await ann.private_reply(asked)
