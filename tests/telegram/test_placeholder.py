"""Placeholders that are gone, that come too late, and those that their result never reaches."""

import asyncio

import pytest

from bot.jobs import JobState
from bot.ports.platform_answers import PlatformError
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


async def test_a_deleted_placeholder_is_replaced_by_a_message_with_the_result(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    app.state.remove(await app.bot_message(chat))
    app.pool.go_on.set()

    assert "slow fox" in (await app.finished_picture(chat))["caption"]
    await app.wait_until_idle(0.2)
    assert len(app.state.bot_messages(chat)) == 1


async def test_a_placeholder_of_which_the_question_was_deleted_is_placed_all_the_same(app, chat, ann):
    app.server.is_slow_s = 0.2
    asked = app.state.send_message(chat, ann, "/imagine a fox")
    app.state.remove(asked)

    await app.finished_picture(chat)


async def test_after_a_day_of_trying_the_placeholder_says_where_the_result_is(app, chat, ann, monkeypatch):
    async def away(*_):
        raise PlatformError("502")

    app.state.send_message(chat, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(chat)
    monkeypatch.setattr("bot.queue.delivery.MAX_TRIES", 1)
    monkeypatch.setattr(app.adapter, "edit_result", away)
    app.pool.go_on.set()
    told = await app.message_with(chat, "it's saved: /show")
    monkeypatch.undo()

    assert told["message_id"] == placeholder["message_id"]
    assert "reply_markup" not in told
    app.state.send_message(chat, ann, text_of(told)[-12:])
    await app.finished_picture(chat, 2)


async def test_a_result_that_is_ready_before_its_placeholder_is_posted_directly(app, chat, ann):
    fault = app.server.fail(method="sendMessage", chat=chat["id"], status=502, times=1000)
    app.state.send_photo(chat, ann, FOX, "what is it?")
    person = await app.application.usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    while not (await app.application.usecases.jobs.list_tickets(person, state=JobState.RENDERED))[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    begun = fault.hits + 1  # perhaps with the text of the running job
    await app.until(lambda: fault.hits > begun)
    fault.times = 0
    await app.message_with(chat, "It is what is it?")

    posted = [text_of(call.params) for call in app.server.called("sendMessage", chat["id"])]
    assert posted == ["what is it?\nIt is what is it?"]
