"""Plain sentences: "draw me a cat" and a picture with a sentence get an offer, and nothing is charged before."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.chat import texts as chat_texts
from bot.models import IMAGE_TEXT_TO_IMAGE
from tests.discord.app_fixture import MODELS, DiscordApp, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, imagine_and_wait

EDITOR = (replace(MODELS[0], tasks=(*MODELS[0].tasks, IMAGE_TEXT_TO_IMAGE), max_images=4), MODELS[1])


@pytest.fixture
async def editor(data_dir: Path, server: Loopback) -> AsyncIterator[DiscordApp]:
    """An app with a model that edits."""
    async with open_app(data_dir, server, with_models=EDITOR) as made:
        made.start()
        await made.wait_until_ready()
        yield made


async def jobs_of(app: DiscordApp, user: SimulatedUser) -> list[Any]:
    person = await app.person(user.person.id)
    return [one.job for one in (await app.application.usecases.jobs.list_tickets(person, limit=10))[0]]


@pytest.mark.parametrize("where", ["mention"])
async def test_draw_me_a_cat_offers_a_picture_and_makes_it_when_the_button_is_pressed(
    app: DiscordApp, ann: SimulatedUser, where: str
) -> None:
    there = ann if where == "mention" else ann.in_channel(app.server.state.dm(ann.person))
    there.write_message("draw me a cat")
    offer = await there.posted()
    before = await jobs_of(app, ann)
    there.press(offer, "pick")
    await until(lambda: offer.id not in there.channel.messages, "the offer to go")
    made = await there.finished()

    assert offer.content == "Should I make a picture of this: a cat?"
    assert before == []
    assert made.content.startswith("a cat")


async def test_a_second_press_of_an_offer_makes_no_second_picture(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.write_message("draw me a naked child")
    refusal = await ann.posted()
    ann.write_message("draw me a cat")
    offer = await ann.posted(2)
    ann.press(offer, "pick")
    ann.press(offer, "pick")
    await until(lambda: offer.id not in ann.channel.messages, "the offer to go")
    await ann.finished(2)

    assert "naked" not in refusal.content
    assert refusal.components == []
    assert len(await jobs_of(app, ann)) == 1


@pytest.mark.parametrize(("action", "command"), [("edit", "edit")])
async def test_a_photo_with_a_sentence_offers_both_readings(
    editor: DiscordApp, ann: SimulatedUser, bob: SimulatedUser, action: str, command: str
) -> None:
    ann.write_message("make it blue", a_photo(editor.server, "SPOILER_photo.png"))
    offer = await ann.posted()
    before = await jobs_of(editor, ann)
    ann.press(offer, action)
    await until(lambda: offer.id not in ann.channel.messages, "the offer to go")
    await ann.finished()
    [job] = await jobs_of(editor, ann)

    assert before == []
    assert offer.content == chat_texts.EDIT_OR_ASK
    assert (job.command, job.options.get("prompt", job.options.get("question"))) == (command, "make it blue")
    assert job.images[0].author == str(ann.person.id)
    assert job.origin.extra["spoiler"]
    assert await jobs_of(editor, bob) == []


async def test_the_picture_of_somebody_else_may_be_edited_only_where_the_rules_say_so(
    editor: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    ann.write_message("make it blue", a_photo(editor.server))
    refused = bob.press(await ann.posted(), "edit")

    assert "other people's pictures" in await bob.private_reply(refused)
    assert await jobs_of(editor, bob) == []


async def test_a_sentence_about_a_replied_photo_offers_both_too(
    editor: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    editor.server.state.may_read_content = True
    photo = bob.write_message("look", a_photo(editor.server), mention=False)
    ann.write_message("a lovely day", reply_to=photo)
    offer = await ann.posted()
    ann.press(offer, "ask")
    await until(lambda: offer.id not in ann.channel.messages, "the offer to go")
    await ann.finished()
    [job] = await jobs_of(editor, ann)

    assert (job.command, job.images[0].author) == ("ask", str(bob.person.id))


async def test_an_offer_whose_message_is_gone_is_not_guessed(app: DiscordApp, ann: SimulatedUser) -> None:
    sent = ann.write_message("draw me a cat")
    offer = await ann.posted()
    app.server.state.remove(sent)
    pressed = ann.press(offer, "pick")

    assert await ann.private_reply(pressed) == chat_texts.BUTTON_EXPIRED
    assert await jobs_of(app, ann) == []


async def test_thanks_for_a_picture_are_not_taken_for_a_request(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    ann.write_message("thanks!", reply_to=made)
    ann.write_message("what is it?", reply_to=made)
    await ann.finished(2)

    assert len(ann.channel.from_bot) == 2
