"""Chat messages of erased jobs: deleted once each, with the fallbacks and the patience of deliveries."""

from dataclasses import replace

import pytest

from bot.jobs import JobState
from bot.ports.platform_answers import MessageGone, NotPermitted, PlatformError, Undeliverable
from bot.queue import delivery as deliver
from tests.bot.queue.test_delivery import Post, impatience  # noqa: F401 - a fixture
from tests.fakes import eventually, make_chat_job, make_origin

REFS = ("7:1", "7:2", "7:3")


@pytest.fixture
def post():
    return Post()


def erase(post, refs=REFS, **more):
    """An erased job's messages, which are still in the chat."""
    job = make_chat_job(state=JobState.CANCELLED, origin=replace(make_origin(), platform="chat", chat_id=""))
    for ref in refs:
        post.chat.messages[ref] = ["a fox"]
    post.outbox.enqueue(job, "retract", target="chat", refs=refs, **more)
    return job


def retracted(post):
    return [call.message_ref for call in post.chat.called("retract_message")]


async def test_each_message_is_deleted_once(post):
    erase(post)

    await post.work_off()

    assert post.chat.messages == {}
    assert retracted(post) == list(REFS)


@pytest.mark.parametrize("gone", [MessageGone("deleted by hand"), Undeliverable("the chat is gone")])
async def test_a_message_that_nobody_can_delete_holds_up_nothing(post, gone):
    erase(post)
    post.chat.failures["retract_message"] = [gone]

    await post.work_off()

    assert retracted(post) == list(REFS)


@pytest.mark.parametrize("error", [PlatformError("502"), PlatformError("busy", retry_after_s=0.01), TimeoutError()])
async def test_the_others_are_tried_again_from_the_one_that_failed(post, error):
    erase(post)
    post.chat.failures["retract_message"] = [None, error]

    await post.work_off()

    assert retracted(post) == ["7:1", "7:2", "7:2", "7:3"]
    assert post.chat.messages == {}


async def test_after_a_kill_before_the_row_is_settled_it_is_done_again(post):
    erase(post)
    post.outbox.failures["settle_retraction"] = [RuntimeError("killed")]

    await post.work_off()

    assert post.chat.messages == {}


async def test_where_the_bot_may_not_write_it_is_given_up_after_a_month(post, monkeypatch):
    monkeypatch.setattr(deliver, "MAX_REFUSED_TRIES", 3)
    erase(post)
    post.chat.failures["retract_message"] = [NotPermitted("kicked")] * 9

    await post.work_off()

    assert retracted(post) == ["7:1"] * 3


async def test_it_waits_for_a_platform_that_is_off(post):
    erase(post, refs=("7:1",))
    delivery = next(iter(post.outbox.pending.values()))
    post.outbox.pending[delivery.id] = replace(delivery, target="elsewhere")

    async with post.running():
        await eventually(lambda: post.outbox.called("schedule_retry"))

    assert post.chat.called("retract_message") == []
    assert list(post.outbox.pending) == [delivery.id]
