"""Placeholders that are gone, that come too late, and those that their result never reaches."""

import asyncio

import pytest

from bot.errors import PlatformError
from bot.jobs import JobState
from tests.telegram.easel_fixture import words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


async def test_a_deleted_placeholder_is_replaced_by_a_message_with_the_result(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    town.world.remove(await town.answer(chat))
    town.pool.go_on.set()

    assert "slow fox" in (await town.picture(chat))["caption"]
    await town.quiet(0.2)
    assert len(town.world.shown(chat)) == 1


async def test_a_placeholder_of_which_the_question_was_deleted_is_placed_all_the_same(town, chat, ann):
    town.server.is_slow_s = 0.2
    asked = town.world.say(chat, ann, "/imagine a fox")
    town.world.remove(asked)

    await town.picture(chat)


async def test_after_a_day_of_trying_the_placeholder_says_where_the_result_is(town, chat, ann, monkeypatch):
    async def away(*_):
        raise PlatformError("502")

    town.world.say(chat, ann, "/imagine a slow fox")
    placeholder = await town.answer(chat)
    monkeypatch.setattr("bot.queue.delivery.MAX_TRIES", 1)
    monkeypatch.setattr(town.adapter, "edit", away)
    town.pool.go_on.set()
    told = await town.text(chat, "It is kept: see it with /show")
    monkeypatch.undo()

    assert told["message_id"] == placeholder["message_id"]
    assert "reply_markup" not in told
    town.world.say(chat, ann, words_of(told)[-13:-1])
    await town.picture(chat, 2)


async def test_what_is_done_before_its_placeholder_stands_is_said_at_once(town, chat, ann):
    fault = town.server.fail(method="sendMessage", chat=chat["id"], status=502, times=1000)
    town.world.show(chat, ann, FOX, "what is it?")
    person = await town.house.usecases.people.identify("telegram", str(ann["id"]), "Ann")
    while not (await town.house.usecases.jobs.page(person, state=JobState.RENDERED))[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    fault.times = 0
    await town.text(chat, "It is what is it?")

    posted = [words_of(call.params) for call in town.server.called("sendMessage", chat["id"])]
    assert posted == ["what is it?\nIt is what is it?"]
