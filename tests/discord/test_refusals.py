"""Discord does not take what was made: whoever asked still reads where it is."""

import asyncio

import pytest

from bot.errors import PlatformError
from bot.jobs import Job, JobState
from bot.queue import delivery
from tests.discord.app_fixture import House
from tests.discord.simulated_users import Actor, until
from tests.discord.test_conversation import imagined
from tests.discord.test_places import answered, foreign

RESULT = "v1:original"
"""Only what carries a finished picture says this."""


async def newest(house: House, ann: Actor) -> Job:
    person = await house.person(ann.person.id)
    tickets, _ = await house.inner.usecases.jobs.page(person)
    return tickets[0].job


async def ended(house: House, ann: Actor, state: JobState) -> Job:
    while (job := await newest(house, ann)).state is not state:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)
    return job


async def test_a_result_that_is_not_taken_leaves_no_placeholder_at_work(house: House, ann: Actor) -> None:
    house.server.fail("PATCH", "/channels/", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a **red** fox", steps=20)
    message = await ann.posted()

    await until(lambda: "/show" in message.content, "a sentence")

    job = await ended(house, ann, JobState.DELIVERED)
    assert f"/show {job.id[:6]}" in message.content
    assert "fox" not in message.content
    assert message.buttons == []
    assert message.attachments == []
    shown = ann.slash("show", id=job.id[:6])
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")


async def test_a_new_message_that_is_not_taken_becomes_a_sentence(house: House, ann: Actor) -> None:
    house.server.fail("POST", "/messages", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a slow fox", steps=10)
    house.server.world.remove(await ann.posted())
    house.pool.go_on.set()

    message = await ann.posted()

    assert "It is kept" in message.content
    assert message.attachments == []


async def test_an_answer_by_token_that_is_not_taken_becomes_a_sentence(house: House, ann: Actor) -> None:
    house.server.fail("PATCH", "/webhooks/", 400, code=50035, about=RESULT)
    made = foreign(ann).slash("imagine", prompt="a red fox")

    await until(lambda: made.messages and "It is kept" in made.messages[0].content, "a sentence")

    assert (await answered(foreign(ann).slash("imagine", prompt="a red fox"))).attachments


async def test_a_failure_that_is_not_taken_is_told_without_its_button(house: House, ann: Actor) -> None:
    house.server.fail("PATCH", "/channels/", 400, code=50035, about="v1:reroll")
    ann.slash("imagine", prompt="fail")
    message = await ann.posted()

    await until(lambda: "weren't charged" in message.content, "a sentence")

    assert message.buttons == []


async def test_what_is_not_taken_in_any_form_is_found_in_history(house: House, ann: Actor) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted()
    house.server.fail("PATCH", "/channels/", 400, code=50035, times=1000)
    house.pool.go_on.set()

    job = await ended(house, ann, JobState.RENDERED)

    while await house.storage.outbox.next_due_s() is not None:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)
    assert (await newest(house, ann)).id == job.id
    assert await house.storage.outbox.due() == []


async def test_after_a_day_of_trying_the_placeholder_says_where_the_result_is(
    house: House, ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> str:
        raise PlatformError("502")

    monkeypatch.setattr(delivery, "MAX_TRIES", 1)
    monkeypatch.setattr(house.discord, "edit", away)
    ann.slash("imagine", prompt="a red fox", steps=20)
    message = await ann.posted()

    await until(lambda: "It is kept" in message.content, "a sentence")

    job = await ended(house, ann, JobState.RENDERED)
    assert f"/show {job.id[:6]}" in message.content
    assert message.buttons == []
    assert message.attachments == []


async def test_the_next_result_is_taken_again(house: House, ann: Actor) -> None:
    house.server.fail("PATCH", "/channels/", 400, code=50035, about=RESULT)
    ann.slash("imagine", prompt="a red fox")
    first = await ann.posted()
    await until(lambda: "It is kept" in first.content, "a sentence")

    assert (await imagined(ann)).attachments


async def test_a_picture_that_is_not_taken_is_shown_in_words(house: House, ann: Actor) -> None:
    await imagined(ann)
    job = await newest(house, ann)
    house.server.fail("PATCH", "/webhooks/", 400, code=50035, about=f"easel-{job.id[:6]}-1")

    shown = ann.slash("show", id=job.id[:6])

    await until(lambda: shown.messages and job.id in shown.messages[0].content, "the words")
    assert shown.messages[0].attachments == []
