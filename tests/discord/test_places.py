"""Where the bot may not post, may not any more, or nobody lets it: other servers, lost permissions, blocked people."""

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.discord import texts
from bot.jobs import JobState
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.safety import SafetySettings
from tests.discord.app_fixture import MODELS, House, opened
from tests.discord.loopback.discord_server_state import (
    ATTACH,
    EVERYTHING,
    GROUP,
    SEND,
    THREAD,
    THREADS,
    VIEW,
    Channel,
    Message,
)
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import Actor, is_finished, until
from tests.discord.test_conversation import a_photo, imagined, imagined_late, job_of
from tests.moderation import SOME_WEIGHTS

MINUTE = 60


def foreign(ann: Actor) -> Actor:
    """In a server that does not have the bot; the person brings it along."""
    world = ann.server.world
    return ann.at(world.channel(world.guild(has_bot=False)))


async def answered(made) -> Message:
    await until(lambda: made.messages, "the answer")
    message = made.messages[0]
    await until(lambda: is_finished(message), "the result")
    return message


async def test_where_the_bot_is_no_member_the_answer_itself_becomes_the_result(house: House, ann: Actor) -> None:
    there = foreign(ann)

    made = there.slash("imagine", prompt="a red fox")
    message = await answered(made)

    assert made.answers[0] == {"type": 5}
    assert message.ephemeral_for is None
    assert message.attachments
    assert "/show" in message.edits[0]["content"]
    assert not house.server.world.sent("POST", "/channels")


async def test_a_group_chat_is_answered_the_same_way(house: House, ann: Actor) -> None:
    world = house.server.world
    group = Channel(world.new_id(), kind=GROUP, people=[ann.person])
    world.channels[group.id] = group

    message = await answered(ann.at(group).slash("imagine", prompt="a red fox"))

    assert message.attachments


async def test_buttons_work_there_too(house: House, ann: Actor) -> None:
    there = foreign(ann)
    message = await answered(there.slash("imagine", prompt="a red fox"))

    again = await answered(there.press(message, "reroll"))
    gone = there.press(again, "delete")
    await until(lambda: again.id not in there.channel.messages, "the message to go")

    assert again.attachments
    assert gone.is_answered


@pytest.mark.parametrize("lacking", [VIEW, SEND, ATTACH])
async def test_a_missing_permission_is_said_at_once(house: House, ann: Actor, lacking: int) -> None:
    ann.channel.permissions = EVERYTHING & ~lacking

    message = await answered(ann.slash("imagine", prompt="a red fox"))

    names = {VIEW: "View Channel", SEND: "Send Messages", ATTACH: "Attach Files"}
    assert names[lacking] in message.edits[0]["content"]
    assert message.attachments


async def test_a_thread_needs_the_permission_for_threads(house: House, ann: Actor) -> None:
    thread = house.server.world.channel(kind=THREAD, parent=ann.channel, permissions=EVERYTHING & ~SEND)
    closed = house.server.world.channel(kind=THREAD, parent=ann.channel, permissions=EVERYTHING & ~THREADS)

    posted = await imagined(ann.at(thread))
    answer = await answered(ann.at(closed).slash("imagine", prompt="a red fox"))

    assert posted.webhook is None
    assert answer.webhook is not None


async def test_after_a_quarter_of_an_hour_the_result_comes_as_a_private_message(house: House, ann: Actor) -> None:
    there = foreign(ann)
    made = there.slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].content, "the placeholder")
    await until(lambda: "Working" in made.messages[0].content, "progress")
    house.server.world.move_on(14.5 * MINUTE)
    house.pool.go_on.set()

    message = await ann.at(house.server.world.dm(ann.person)).finished()

    assert message.attachments


async def test_whoever_takes_no_private_messages_finds_the_result_with_show(house: House, ann: Actor) -> None:
    ann.person.blocks_bot = True
    there = foreign(ann)
    made = there.slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].buttons, "the placeholder")
    job_id = made.messages[0].buttons[0].split(":")[2]
    await until(lambda: house.pool._running, "the job to run")
    house.server.world.move_on(14.5 * MINUTE)
    house.pool.go_on.set()
    person = await house.person(ann.person.id)
    await house.inner.usecases.jobs.wait(person, job_id)
    house.server.world.move_on(0)

    shown = there.slash("show", id=job_id[:6])
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")

    assert shown.messages[0].ephemeral_for is ann.person
    assert (await house.inner.usecases.jobs.get(person, job_id)).job.state is JobState.RENDERED


async def test_a_permission_lost_meanwhile_turns_the_result_into_a_private_message(house: House, ann: Actor) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    ann.channel.permissions = 0
    house.pool.go_on.set()

    message = await ann.at(house.server.world.dm(ann.person)).finished()

    assert message.attachments


async def test_a_deleted_placeholder_is_followed_by_a_new_message(house: House, ann: Actor) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    house.server.world.remove(placeholder)
    house.pool.go_on.set()

    message = await ann.finished()

    assert message.id != placeholder.id
    assert message.attachments
    await job_of(house, message)


async def test_a_deleted_channel_sends_the_result_in_private(house: House, ann: Actor) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    del house.server.world.channels[ann.channel.id]
    house.pool.go_on.set()

    assert (await ann.at(house.server.world.dm(ann.person)).finished()).attachments


async def test_a_locked_thread_sends_the_result_in_private(house: House, ann: Actor) -> None:
    thread = house.server.world.channel(kind=THREAD, parent=ann.channel)
    ann.at(thread).slash("imagine", prompt="a slow fox", steps=10)
    await ann.at(thread).posted()
    thread.is_locked = True
    house.pool.go_on.set()

    assert (await ann.at(house.server.world.dm(ann.person)).finished()).attachments


async def test_a_deleted_question_is_answered_all_the_same(house: House, ann: Actor) -> None:
    made = await imagined(ann)
    house.pool.go_on.clear()
    question = ann.say("what is it?", reply_to=made)
    house.server.world.remove(question)

    assert (await ann.finished(2)).content


async def test_a_message_older_than_an_hour_is_answered_by_a_new_one(house: House, ann: Actor) -> None:
    placeholder, message = await imagined_late(house, ann)

    assert message.reply_to == placeholder.id
    assert message.attachments


async def test_a_spoiler_stays_one(house: House, ann: Actor) -> None:
    hidden = a_photo(house.server, "SPOILER_photo.png")

    made = await imagined(ann, image=hidden)
    ann.press(made, "reroll")
    again = await ann.finished(2)

    assert made.attachments[0].is_spoiler
    assert again.attachments[0].is_spoiler


async def test_what_comes_of_a_spoiler_by_words_is_one(
    data_dir: Path, server: Loopback, ann: Actor, bob: Actor
) -> None:
    editor = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,))
    safety = SafetySettings(classifier=SOME_WEIGHTS, edit_others=True)
    async with opened(data_dir, server, with_models=(*MODELS, editor), safety=safety) as house:
        house.start()
        await house.ready()
        photo = bob.say("look", a_photo(server, "SPOILER_photo.png"), mention=False)
        await ann.submit(ann.menu(texts.VARY_THIS, photo), "as a painting")
        varied = await ann.finished(1)
        ann.say("give it a green hat", reply_to=varied)
        ann.press(await ann.posted(2), "edit")
        edited = await ann.finished(3)
        ann.slash("describe", image=a_photo(server, "SPOILER_photo.png"))
        ann.press(await ann.finished(4), "pick")
        picked = await ann.finished(5)

    assert [one.attachments[0].is_spoiler for one in (varied, edited, picked)] == [True] * 3


async def test_the_preview_of_a_spoiler_is_one(house: House, ann: Actor) -> None:
    there = ann.at(house.server.world.channel(nsfw=True))
    there.slash("imagine", prompt="a slow fox", steps=10, image=a_photo(house.server, "SPOILER_photo.png"))
    message = await there.posted()

    await until(lambda: message.attachments, "a preview")

    assert message.attachments[0].filename == "SPOILER_preview.jpg"


async def test_a_thread_is_as_restricted_as_its_channel(house: House, ann: Actor) -> None:
    parent = house.server.world.channel(nsfw=True)
    thread = house.server.world.channel(kind=THREAD, parent=parent)
    house.server.gateway.tell("GUILD_CREATE", parent.guild.json())

    made = await imagined(ann.at(thread))

    job = await job_of(house, made)
    assert job.origin.age_restricted is True
    assert job.origin.thread_id == str(thread.id)


async def test_a_mention_where_the_bot_may_not_write_is_answered_in_private(house: House, ann: Actor) -> None:
    ann.channel.permissions = EVERYTHING & ~SEND

    ann.say("what is it?", a_photo(house.server))

    assert "It is what is it?" in (await ann.at(house.server.world.dm(ann.person)).finished()).content


async def test_an_answer_by_token_that_was_taken_away_comes_in_private(house: House, ann: Actor) -> None:
    made = foreign(ann).slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].buttons, "the placeholder")
    house.server.world.remove(made.messages[0])
    house.pool.go_on.set()

    assert (await ann.at(house.server.world.dm(ann.person)).finished()).attachments


async def test_age_restricted_channels_are_told_to_the_core(house: House, ann: Actor) -> None:
    there = ann.at(house.server.world.channel(nsfw=True))

    made = await imagined(there)

    job = await job_of(house, made)
    assert job.origin.age_restricted is True
    assert job.origin.space_id == str(there.channel.guild.id)


async def test_the_language_comes_from_the_person(house: House, ann: Actor) -> None:
    ann.person.locale = "pt-BR"

    made = await imagined(ann)

    job = await job_of(house, made)
    assert job.origin.locale == "pt-BR"
