"""Results that Discord rejects: the person still reads where they are."""

import asyncio

import pytest

from bot.jobs import Job, JobState
from bot.ports.platform_answers import PlatformError
from bot.queue import delivery
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait
from tests.discord.test_places import answered, where_bot_is_no_member

RESULT = "v1:original"
"""Only what carries a finished picture says this."""


async def newest_job(app: DiscordApp, ann: SimulatedUser) -> Job:
    person = await app.person(ann.person.id)
    tickets, _ = await app.application.usecases.jobs.list_tickets(person)
    return tickets[0].job


async def wait_for_state(app: DiscordApp, ann: SimulatedUser, state: JobState) -> Job:
    while (job := await newest_job(app, ann)).state is not state:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)
    return job


async def test_a_result_that_is_not_taken_leaves_no_placeholder_at_work(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("PATCH", "/channels/", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a **red** fox", steps=20)
    message = await ann.posted()

    await until(lambda: "/show" in message.content, "a sentence")

    job = await wait_for_state(app, ann, JobState.DELIVERED)
    assert f"/show id:{job.id[:6]}" in message.content
    assert "fox" not in message.content
    assert message.buttons == []
    assert message.attachments == []
    shown = ann.slash("show", id=job.id[:6])
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")


async def test_a_new_message_that_is_not_taken_becomes_a_sentence(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/messages", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a slow fox", steps=10)
    app.server.state.remove(await ann.posted())
    app.pool.go_on.set()

    message = await ann.posted()

    assert "it's saved" in message.content
    assert message.attachments == []


async def test_an_answer_by_token_that_is_not_taken_becomes_a_sentence(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("PATCH", "/webhooks/", 400, code=50035, about=RESULT)
    made = where_bot_is_no_member(ann).slash("imagine", prompt="a red fox")

    await until(lambda: made.messages and "it's saved" in made.messages[0].content, "a sentence")

    assert (await answered(where_bot_is_no_member(ann).slash("imagine", prompt="a red fox"))).attachments


async def test_a_failure_that_discord_rejects_is_shown_without_its_button(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("PATCH", "/channels/", 400, code=50035, about="v1:reroll")
    ann.slash("imagine", prompt="fail")
    message = await ann.posted()

    await until(lambda: "weren't charged" in message.content, "a sentence")

    assert message.buttons == []


async def test_what_is_not_taken_in_any_form_is_found_in_history(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    app.server.fail("PATCH", "/channels/", 400, code=50035, times=1000)
    app.pool.go_on.set()

    job = await wait_for_state(app, ann, JobState.RENDERED)

    while await app.storage.outbox.next_due_s() is not None:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)
    assert (await newest_job(app, ann)).id == job.id
    assert await app.storage.outbox.due_deliveries() == []


async def test_after_a_day_of_trying_the_placeholder_says_where_the_result_is(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> str:
        raise PlatformError("502")

    monkeypatch.setattr(delivery, "MAX_TRIES", 1)
    monkeypatch.setattr(app.discord, "edit_result", away)
    ann.slash("imagine", prompt="a red fox", steps=20)
    message = await ann.posted()

    await until(lambda: "it's saved" in message.content, "a sentence")

    job = await wait_for_state(app, ann, JobState.RENDERED)
    assert f"/show id:{job.id[:6]}" in message.content
    assert message.buttons == []
    assert message.attachments == []


async def test_the_next_result_is_taken_again(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("PATCH", "/channels/", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a red fox")
    first = await ann.posted()
    await until(lambda: "it's saved" in first.content, "a sentence")

    assert (await imagine_and_wait(ann)).attachments


async def test_a_picture_that_is_not_taken_is_shown_in_words(app: DiscordApp, ann: SimulatedUser) -> None:
    await imagine_and_wait(ann)
    job = await newest_job(app, ann)
    app.server.fail("PATCH", "/webhooks/", 400, code=50035, about=f"easel-{job.id[:6]}-1")

    shown = ann.slash("show", id=job.id[:6])

    await until(lambda: shown.messages and job.id in shown.messages[0].content, "the words")
    assert shown.messages[0].attachments == []
