"""What transactions count, and the state of queue and storage for monitoring."""

import pytest

from bot.errors import QueueFull
from bot.jobs import JobState
from bot.ports import Limits, WorkMetrics
from storage import StorageSettings, open_storage
from storage.measuring import count_after_commit
from tests.storage.factories import accept, claim, make_origin, render, requeue

SETTINGS = StorageSettings(min_free_mb=0, busy_timeout_ms=200)


class Counted(WorkMetrics):
    def __init__(self):
        self.accepted, self.ended, self.deliveries, self.commits, self.blocked = [], [], [], [], []

    def count_accepted(self, jobs):
        self.accepted += jobs

    def count_ended(self, job):
        self.ended.append(job.state)

    def count_delivery(self, delivery, outcome):
        self.deliveries.append((delivery.kind, outcome))

    def observe_commit(self, seconds, operations):
        self.commits.append(operations)

    def count_blocked(self, reason):
        self.blocked.append(reason)


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
async def storage(data_dir, counted):
    async with open_storage(SETTINGS, data_dir, counted) as opened:
        yield opened


async def test_jobs_are_counted_when_they_are_accepted_and_when_they_end(storage, ann, counted):
    [done, cancelled] = await accept(storage, ann, 2)
    await storage.jobs.request_cancel(cancelled.id, ann.id)
    await storage.jobs.request_cancel(cancelled.id, ann.id)
    await requeue(storage, await claim(storage), interrupted=True)
    await render(storage, await claim(storage))

    assert [job.id for job in counted.accepted] == [done.id, cancelled.id]
    assert counted.ended == [JobState.CANCELLED, JobState.RENDERED]


async def test_an_erased_job_in_the_queue_ends_too(storage, ann, counted):
    [job] = await accept(storage, ann)
    await storage.privacy.erase_job(job.id, ann.id)

    assert counted.ended == [JobState.CANCELLED]


async def test_what_is_refused_is_not_counted(storage, ann, counted):
    with pytest.raises(QueueFull):
        await accept(storage, ann, 2, limits=Limits(outstanding=1))

    assert counted.accepted == []


async def test_an_operation_that_fails_after_it_counted_counts_nothing(storage, counted):
    def fail(tx):
        count_after_commit(tx, lambda metrics: metrics.count_blocked("words"))
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await storage.outbox._database.run_write(fail)
    await storage.outbox._database.run_write(lambda tx: None)

    assert counted.blocked == []


async def test_a_count_that_fails_does_not_fail_the_operation(storage, logged):
    def count(metrics):
        raise RuntimeError("a bug")

    answer = await storage.outbox._database.run_write(lambda tx: count_after_commit(tx, count))

    assert answer is None
    assert "count_failed" in [entry.get("action") for entry in logged]


async def test_each_outcome_of_a_delivery_is_counted_once(storage, ann, counted):
    await accept(storage, ann, wants_delivery=True)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.schedule_retry(placeholder, delay_s=0, reason="x")
    await storage.outbox.schedule_retry(placeholder, delay_s=0, reason="x", is_try=False)
    await storage.outbox.mark_sent(placeholder, "m1")
    await storage.outbox.mark_sent(placeholder, "m1")
    await render(storage, await claim(storage))
    [result] = await storage.outbox.due_deliveries()
    await storage.outbox.give_up(result, "gone")
    await storage.outbox.give_up(result, "gone")

    kinds = [("placeholder", "retried"), ("placeholder", "postponed"), ("placeholder", "sent")]
    assert counted.deliveries == [*kinds, ("result", "undeliverable")]


async def test_a_shared_transaction_is_one_commit_of_several_operations(storage, counted):
    counted.commits.clear()
    for future in [storage.outbox._database.submit(lambda tx: None) for _ in range(5)]:
        await future

    assert counted.commits == [5]


async def test_an_empty_server_has_nothing_to_do(storage):
    state = await storage.monitor.read_state()

    assert (state.backlog, state.deliveries, state.inbox_waiting) == ({}, {}, 0)
    assert (state.oldest_queued_s, state.last_backup) == (0.0, None)


async def test_the_state_has_queue_outbox_and_inbox(storage, ann):
    web = make_origin(platform="web", webhook="studio")
    await accept(storage, ann, origin=web)
    await render(storage, await claim(storage))
    await accept(storage, ann, 2, wants_delivery=True)
    await accept(storage, ann, model="other")
    state = await storage.monitor.read_state()

    assert state.backlog == {"fox": 2, "other": 1}
    pending = {key: one.count for key, one in state.deliveries.items()}
    assert pending == {("placeholder", "discord"): 2, ("webhook", "webhook"): 1}
    assert state.oldest_queued_s >= 0


async def test_a_backup_leaves_its_time(storage, tmp_path):
    await storage.maintenance.backup(tmp_path / "copy.db")

    assert (await storage.monitor.read_state()).last_backup is not None


async def test_webhooks_are_shown_with_their_events_and_the_reason_of_the_oldest(storage, ann):
    web = make_origin(platform="web", webhook="studio")
    await accept(storage, ann, 3, origin=web)
    for _ in range(3):
        await render(storage, await claim(storage))
    sent, oldest, other = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(sent, "")
    await storage.outbox.schedule_retry(oldest, delay_s=60, reason="HTTP 500")
    await storage.outbox.schedule_retry(other, delay_s=60, reason="no connection")
    [state] = await storage.monitor.read_webhooks()

    assert (state.name, state.sent, state.pending, state.undeliverable) == ("studio", 1, 2, 0)
    assert state.last_problem == "HTTP 500"
