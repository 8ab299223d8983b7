"""Where the bot may not post, may not any more, or nobody lets it: other servers, lost permissions, blocked people."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from adapters.discord import texts
from adapters.discord.rendering import to_plain_text
from bot.chat import texts as chat_texts
from bot.jobs import JobState
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.safety import SafetySettings
from storage.schema import media_owner
from tests.discord.app_fixture import MODELS, DiscordApp, open_app
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
from tests.discord.simulated_users import SimulatedUser, is_finished, until
from tests.discord.test_conversation import a_photo, imagine_and_wait, imagined_late, job_of
from tests.moderation import SOME_WEIGHTS

MINUTE = 60


def where_bot_is_no_member(ann: SimulatedUser) -> SimulatedUser:
    """In a server that does not have the bot; the person brings it along."""
    state = ann.server.state
    return ann.in_channel(state.channel(state.guild(has_bot=False)))


async def answered(made) -> Message:
    await until(lambda: made.messages, "the answer")
    message = made.messages[0]
    await until(lambda: is_finished(message), "the result")
    return message


async def test_where_the_bot_is_no_member_the_answer_itself_becomes_the_result(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    there = where_bot_is_no_member(ann)

    made = there.slash("imagine", prompt="a red fox")
    message = await answered(made)

    assert made.answers[0] == {"type": 5}
    assert message.ephemeral_for is None
    assert message.attachments
    assert "/show" in message.edits[0]["content"]
    assert not app.server.state.sent("POST", "/channels")


async def test_a_group_chat_is_answered_the_same_way(app: DiscordApp, ann: SimulatedUser) -> None:
    state = app.server.state
    group = Channel(state.new_id(), kind=GROUP, people=[ann.person])
    state.channels[group.id] = group

    message = await answered(ann.in_channel(group).slash("imagine", prompt="a red fox"))

    assert message.attachments


async def test_buttons_work_there_too(app: DiscordApp, ann: SimulatedUser) -> None:
    there = where_bot_is_no_member(ann)
    message = await answered(there.slash("imagine", prompt="a red fox"))

    again = await answered(there.press(message, "reroll"))
    gone = there.press(again, "delete")
    await until(lambda: again.id not in there.channel.messages, "the message to go")

    assert again.attachments
    assert gone.is_answered


@pytest.mark.parametrize("lacking", [VIEW, SEND, ATTACH])
async def test_a_missing_permission_is_named_immediately(app: DiscordApp, ann: SimulatedUser, lacking: int) -> None:
    ann.channel.permissions = EVERYTHING & ~lacking

    message = await answered(ann.slash("imagine", prompt="a red fox"))

    names = {VIEW: "View Channel", SEND: "Send Messages", ATTACH: "Attach Files"}
    assert names[lacking] in message.edits[0]["content"]
    assert message.attachments


async def test_a_thread_needs_the_permission_for_threads(app: DiscordApp, ann: SimulatedUser) -> None:
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel, permissions=EVERYTHING & ~SEND)
    closed = app.server.state.channel(kind=THREAD, parent=ann.channel, permissions=EVERYTHING & ~THREADS)

    posted = await imagine_and_wait(ann.in_channel(thread))
    answer = await answered(ann.in_channel(closed).slash("imagine", prompt="a red fox"))

    assert posted.webhook is None
    assert answer.webhook is not None


async def test_after_a_quarter_of_an_hour_the_result_comes_as_a_private_message(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    there = where_bot_is_no_member(ann)
    made = there.slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].content, "the placeholder")
    await until(lambda: "Working" in made.messages[0].content, "progress")
    app.server.state.advance_clock(14.5 * MINUTE)
    app.pool.go_on.set()

    message = await ann.in_channel(app.server.state.dm(ann.person)).finished()

    assert message.attachments
    assert message.content.splitlines()[-1] == to_plain_text(chat_texts.SENT_PRIVATELY)


async def test_people_who_take_no_private_messages_find_the_result_with_show(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.person.blocks_bot = True
    there = where_bot_is_no_member(ann)
    made = there.slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].buttons, "the placeholder")
    job_id = made.messages[0].buttons[0].split(":")[2]
    await until(lambda: app.pool._running, "the job to run")
    app.server.state.advance_clock(14.5 * MINUTE)
    app.pool.go_on.set()
    person = await app.person(ann.person.id)
    await app.application.usecases.jobs.wait_for_job(person, job_id)
    app.server.state.advance_clock(0)

    shown = there.slash("show", id=job_id[:6])
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")

    assert shown.messages[0].ephemeral_for is ann.person
    assert (await app.application.usecases.jobs.get_ticket(person, job_id)).job.state is JobState.RENDERED


async def test_a_permission_lost_meanwhile_turns_the_result_into_a_private_message(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    ann.channel.permissions = 0
    app.pool.go_on.set()

    message = await ann.in_channel(app.server.state.dm(ann.person)).finished()

    assert message.attachments


async def test_a_deleted_placeholder_is_followed_by_a_new_message(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    app.server.state.remove(placeholder)
    app.pool.go_on.set()

    message = await ann.finished()

    assert message.id != placeholder.id
    assert message.attachments
    await job_of(app, message)


async def test_a_deleted_channel_sends_the_result_in_private(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    del app.server.state.channels[ann.channel.id]
    app.pool.go_on.set()

    assert (await ann.in_channel(app.server.state.dm(ann.person)).finished()).attachments


async def test_a_locked_thread_sends_the_result_in_private(app: DiscordApp, ann: SimulatedUser) -> None:
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel)
    ann.in_channel(thread).slash("imagine", prompt="a slow fox", steps=10)
    await ann.in_channel(thread).posted()
    thread.is_locked = True
    app.pool.go_on.set()

    assert (await ann.in_channel(app.server.state.dm(ann.person)).finished()).attachments


async def test_a_deleted_question_is_answered_all_the_same(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    app.pool.go_on.clear()
    question = ann.write_message("what is it?", reply_to=made)
    app.server.state.remove(question)

    assert (await ann.finished(2)).content


async def test_a_message_older_than_an_hour_is_answered_by_a_new_one(app: DiscordApp, ann: SimulatedUser) -> None:
    placeholder, message = await imagined_late(app, ann)

    assert message is not placeholder
    assert message.attachments
    await until(lambda: ann.channel.from_bot == [message], "the placeholder to go")


async def test_a_spoiler_stays_one(app: DiscordApp, ann: SimulatedUser) -> None:
    hidden = a_photo(app.server, "SPOILER_photo.png")

    made = await imagine_and_wait(ann, image=hidden)
    ann.press(made, "reroll")
    again = await ann.finished(2)

    assert made.attachments[0].is_spoiler
    assert again.attachments[0].is_spoiler


async def test_what_comes_of_a_spoiler_by_words_is_one(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    editor = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,))
    safety = SafetySettings(classifier=SOME_WEIGHTS, edit_others=True)
    async with open_app(data_dir, server, with_models=(*MODELS, editor), safety=safety) as app:
        app.start()
        await app.wait_until_ready()
        photo = bob.write_message("look", a_photo(server, "SPOILER_photo.png"), mention=False)
        await ann.submit(ann.menu(texts.VARY_THIS, photo), "as a painting")
        varied = await ann.finished(1)
        ann.write_message("give it a green hat", reply_to=varied)
        ann.press(await ann.posted(2), "edit")
        edited = await ann.finished(3)
        ann.slash("describe", image=a_photo(server, "SPOILER_photo.png"))
        ann.press(await ann.finished(4), "pick")
        picked = await ann.finished(5)

    assert [one.attachments[0].is_spoiler for one in (varied, edited, picked)] == [True] * 3


async def test_the_preview_of_a_spoiler_is_one(app: DiscordApp, ann: SimulatedUser) -> None:
    there = ann.in_channel(app.server.state.channel(nsfw=True))
    there.slash("imagine", prompt="a slow fox", steps=10, image=a_photo(app.server, "SPOILER_photo.png"))
    message = await there.posted()

    await until(lambda: message.attachments, "a preview")

    assert message.attachments[0].filename == "SPOILER_preview.jpg"


async def test_a_thread_is_as_restricted_as_its_channel(app: DiscordApp, ann: SimulatedUser) -> None:
    parent = app.server.state.channel(nsfw=True)
    thread = app.server.state.channel(kind=THREAD, parent=parent)
    app.server.gateway.dispatch("GUILD_CREATE", parent.guild.json())

    made = await imagine_and_wait(ann.in_channel(thread))

    job = await job_of(app, made)
    assert job.origin.age_restricted is True
    assert job.origin.thread_id == str(thread.id)


async def test_a_mention_where_the_bot_may_not_write_is_answered_in_private(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.channel.permissions = EVERYTHING & ~SEND

    ann.write_message("what is it?", a_photo(app.server))

    assert "It is what is it?" in (await ann.in_channel(app.server.state.dm(ann.person)).finished()).content


async def test_an_answer_by_token_that_was_taken_away_comes_in_private(app: DiscordApp, ann: SimulatedUser) -> None:
    made = where_bot_is_no_member(ann).slash("imagine", prompt="a slow fox", steps=10)
    await until(lambda: made.messages and made.messages[0].buttons, "the placeholder")
    app.server.state.remove(made.messages[0])
    app.pool.go_on.set()

    assert (await ann.in_channel(app.server.state.dm(ann.person)).finished()).attachments


async def test_the_core_knows_age_restricted_channels(app: DiscordApp, ann: SimulatedUser) -> None:
    there = ann.in_channel(app.server.state.channel(nsfw=True))

    made = await imagine_and_wait(there)

    job = await job_of(app, made)
    assert job.origin.age_restricted is True
    assert job.origin.space_id == str(there.channel.guild.id)


async def test_the_language_comes_from_the_person(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.person.locale = "pt-BR"

    made = await imagine_and_wait(ann)

    job = await job_of(app, made)
    assert job.origin.locale == "pt-BR"


async def test_pictures_and_results_of_a_chat_are_known_to_come_from_it(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a fox", image=a_photo(app.server), strength=0.5)
    await ann.finished()
    person = await app.person(ann.person.id)
    of_person = select(media_owner.c.source).where(media_owner.c.owner == person.id)
    sources = await app.storage.media._database.run_read(lambda tx: tx.scalars(of_person).all())

    assert sources == ["discord", "discord"]
