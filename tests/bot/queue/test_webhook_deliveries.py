"""Events for webhooks from the outbox: sent, tried again, given up, or no longer due."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from bot.errors import JobNotFound, StorageBusy
from bot.jobs import JobState
from bot.ports.platform_answers import PlatformError, Undeliverable
from bot.queue import delivery as deliver
from bot.queue import webhook_deliveries as webhooks
from bot.queue import webhook_receivers as receivers
from bot.queue.delivery import Deliverer
from bot.queue.progress import ProgressBus
from tests.fakes import FakeMediaStore, FakeOutbox, FakePlatform, eventually, make_chat_job, make_job, make_result


class FakeSender:
    """`failures`: raised by the next calls, in turn."""

    def __init__(self, *names):
        self.names = names
        self.failures = []
        self.sent = []
        self.calls = []
        self.before_answer = lambda delivery: None
        self.under_way = 0
        self.most_under_way = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    def has_webhook(self, name):
        return name in self.names

    async def send_test(self, name):
        raise NotImplementedError

    async def send_event(self, delivery):
        self.calls.append(delivery)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.go_on.wait()
        finally:
            self.under_way -= 1
        self.before_answer(delivery)
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(delivery.job.id)


class Hooks:
    def __init__(self):
        self.outbox = FakeOutbox()
        self.sender = FakeSender("studio", "other")
        self.chat = FakePlatform()

    @asynccontextmanager
    async def running(self):
        deliverer = Deliverer(
            outbox=self.outbox, media=FakeMediaStore(), progress_bus=ProgressBus(),
            platforms={self.chat.name: self.chat}, webhook_sender=self.sender,
        )  # fmt: skip
        running = asyncio.create_task(deliverer.run_forever())
        try:
            yield deliverer
            assert not running.done(), "the deliverer ended by itself"
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def work_off(self):
        async with self.running():
            await eventually(lambda: not self.outbox.pending)

    def end_job(self, target="studio", *, ended_ago_s=0.0, **more):
        ended_at = datetime.now(UTC) - timedelta(seconds=ended_ago_s)
        job = make_job(state=JobState.DELIVERED, result=make_result(), finished_at=ended_at)
        return self.outbox.enqueue(job, "webhook", target=target, **more)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(deliver, "back_off_s", lambda tries: 0.002)
    monkeypatch.setattr(deliver, "STORAGE_RETRY_S", 0.002)
    monkeypatch.setattr(deliver, "OVERDUE_CHECK_S", 0.01)


@pytest.fixture
def hooks():
    return Hooks()


async def test_an_event_is_sent_once_and_confirmed(hooks):
    event = hooks.end_job()

    await hooks.work_off()

    assert hooks.sender.sent == [event.job.id]
    assert hooks.outbox.undeliverable == []
    assert hooks.chat.calls == []


async def test_a_refused_event_is_tried_again_and_counted(hooks):
    event = hooks.end_job()
    hooks.sender.failures = [PlatformError("HTTP 500"), TimeoutError()]

    await hooks.work_off()

    assert hooks.sender.sent == [event.job.id]
    assert [one.tries for one in hooks.sender.calls] == [0, 1, 2]


async def test_a_receiver_that_is_gone_is_not_called_again(hooks):
    event = hooks.end_job()
    hooks.sender.failures = [Undeliverable("HTTP 410")]

    await hooks.work_off()

    assert hooks.outbox.undeliverable == [event.job.id]
    assert len(hooks.sender.calls) == 1


async def test_the_wait_that_is_asked_for_is_kept_and_counted(hooks):
    hooks.end_job()
    hooks.sender.failures = [PlatformError("HTTP 429", retry_after_s=0.5)]

    async with hooks.running():
        await eventually(lambda: hooks.outbox.called("schedule_retry"))

    [call] = hooks.outbox.called("schedule_retry")
    assert call.delay_s == 0.5
    assert next(iter(hooks.outbox.pending.values())).tries == 1


async def test_an_event_is_given_up_after_a_month_but_never_untried(hooks):
    event = hooks.end_job(ended_ago_s=32 * 86400.0)
    hooks.sender.failures = [PlatformError("HTTP 500")]

    await hooks.work_off()

    assert hooks.outbox.undeliverable == [event.job.id]
    assert len(hooks.sender.calls) == 1


async def test_an_event_is_kept_for_a_month(hooks):
    event = hooks.end_job(ended_ago_s=30 * 86400.0)
    hooks.sender.failures = [PlatformError("HTTP 500")]

    await hooks.work_off()

    assert hooks.sender.sent == [event.job.id]


async def test_an_event_waits_for_a_webhook_that_the_config_no_longer_has(hooks):
    hooks.end_job("removed")

    async with hooks.running():
        await eventually(lambda: hooks.outbox.called("schedule_retry"))

    [call] = hooks.outbox.called("schedule_retry")
    assert call.delay_s == webhooks.UNKNOWN_RETRY_S
    assert [one.tries for one in hooks.outbox.pending.values()] == [0]
    assert hooks.sender.calls == []


async def test_a_job_that_was_erased_meanwhile_is_not_sent(hooks, monkeypatch):
    event = hooks.end_job()

    async def is_pending(delivery):
        hooks.outbox.pending.pop(delivery.id, None)
        return False

    monkeypatch.setattr(hooks.outbox, "is_pending", is_pending)
    await hooks.work_off()

    assert hooks.sender.calls == []
    assert event.job.id not in hooks.outbox.undeliverable


async def test_a_job_that_is_erased_while_its_event_is_built_is_given_up(hooks):
    event = hooks.end_job()
    hooks.sender.failures = [JobNotFound(event.job.id)]

    await hooks.work_off()

    assert hooks.outbox.undeliverable == [event.job.id]


async def test_a_confirmation_that_cannot_be_stored_yet_sends_nothing_twice(hooks):
    event = hooks.end_job()
    hooks.outbox.failures["mark_sent"] = [StorageBusy()]

    await hooks.work_off()

    assert hooks.sender.sent == [event.job.id]


async def test_a_slow_receiver_leaves_room_for_others_and_for_chats(hooks):
    hooks.sender.go_on.clear()
    for _ in range(receivers.MAX_CONCURRENT_PER_WEBHOOK + 3):
        hooks.end_job()
    hooks.end_job("other")
    hooks.outbox.enqueue(make_chat_job(), "placeholder")

    async with hooks.running():
        await eventually(lambda: hooks.chat.calls and "other" in [one.target for one in hooks.sender.calls])
        called = [one.target for one in hooks.sender.calls]
        hooks.sender.go_on.set()
        await eventually(lambda: not hooks.outbox.pending)

    assert called.count("studio") == receivers.MAX_CONCURRENT_PER_WEBHOOK


async def test_a_receiver_that_never_answers_is_left_after_a_while(hooks, monkeypatch):
    monkeypatch.setattr(webhooks, "CALL_TIMEOUT_S", 0.01)
    hooks.end_job()
    hooks.sender.go_on.clear()

    async with hooks.running():
        await eventually(lambda: hooks.outbox.called("schedule_retry"))
        hooks.sender.go_on.set()
        await eventually(lambda: not hooks.outbox.pending)

    assert hooks.outbox.called("schedule_retry")[0].reason == "no answer in time"
    assert len(hooks.sender.sent) == 1


async def test_a_bug_in_sending_ends_neither_the_loop_nor_the_event(hooks):
    event = hooks.end_job()
    hooks.sender.failures = [RuntimeError("a bug")]

    await hooks.work_off()

    assert hooks.sender.sent == [event.job.id]


# ---------------------------------------------------------------- a receiver that is down


async def test_a_receiver_that_is_down_is_called_seldom_and_delays_nobody(hooks, monkeypatch):
    monkeypatch.setattr(deliver, "back_off_s", lambda tries: 0.002 if tries < 2 else 3600.0)
    hooks.sender.failures = [PlatformError("down")] * 1000
    for _ in range(200):
        hooks.end_job()

    async with hooks.running() as deliverer:
        await eventually(lambda: len(hooks.outbox.called("schedule_retry")) >= 5 and not hooks.sender.under_way)
        hooks.sender.failures.clear()
        hooks.end_job("other")
        deliverer.wake()
        await eventually(lambda: hooks.sender.sent)

    assert len(hooks.sender.calls) <= receivers.MAX_CONCURRENT_PER_WEBHOOK + 1
    assert hooks.sender.calls[-1].target == "other"


async def test_a_backlog_is_sent_once_its_receiver_is_back(hooks):
    hooks.sender.failures = [PlatformError("down")] * 20
    jobs = {hooks.end_job().job.id for _ in range(30)}

    await hooks.work_off()

    assert set(hooks.sender.sent) == jobs
    assert len(hooks.sender.sent) == len(jobs)


async def test_of_a_backlog_few_events_are_in_memory(hooks):
    hooks.sender.go_on.clear()
    for _ in range(200):
        hooks.end_job()

    async with hooks.running() as deliverer:
        await eventually(lambda: len(hooks.sender.calls) == receivers.MAX_CONCURRENT_PER_WEBHOOK)
        deliverer.wake()
        looks = len(hooks.outbox.called("due_deliveries"))
        await eventually(lambda: len(hooks.outbox.called("due_deliveries")) > looks)
        excluded = hooks.outbox.called("due_deliveries")[-1].besides
        hooks.sender.go_on.set()
        await eventually(lambda: not hooks.outbox.pending)

    assert len(excluded) == receivers.MAX_CONCURRENT_PER_WEBHOOK


async def test_a_wait_that_a_receiver_asks_for_is_for_all_of_its_events(hooks):
    hooks.sender.failures = [PlatformError("HTTP 429", retry_after_s=3600.0)]
    hooks.end_job()

    async with hooks.running() as deliverer:
        await eventually(lambda: hooks.outbox.called("schedule_retry"))
        hooks.end_job()
        hooks.end_job("other")
        deliverer.wake()
        await eventually(lambda: hooks.sender.sent)

    assert [one.target for one in hooks.sender.calls] == ["studio", "other"]


async def test_the_events_of_a_removed_webhook_are_not_looked_at_one_by_one(hooks):
    for _ in range(20):
        hooks.end_job("removed")
    hooks.end_job()

    async with hooks.running():
        await eventually(lambda: hooks.sender.sent)

    assert len(hooks.outbox.called("schedule_retry")) <= receivers.MAX_CONCURRENT_PER_WEBHOOK


async def test_with_an_event_that_is_too_old_all_of_its_age_are_given_up(hooks):
    old = webhooks.KEPT.total_seconds() + 60
    event = hooks.end_job(ended_ago_s=old)
    hooks.sender.failures = [PlatformError("down")]

    await hooks.work_off()

    [call] = hooks.outbox.called("give_up_events")
    assert (call.delivery.target, call.reason) == ("studio", "down")
    assert event.job.finished_at < call.before < datetime.now(UTC) - webhooks.KEPT + timedelta(minutes=1)
