"""What the dispatcher counts: jobs that return to the queue, by reason, and first previews."""

import pytest

from bot.errors import Interrupted, OutOfMemory, WorkerLost
from bot.jobs import JobState
from bot.ports import Progress, WorkMetrics
from bot.queue.recovery import recover_jobs
from tests.bot.queue.test_dispatcher import STEP, Harness
from tests.fakes import eventually, make_done, make_job

PREVIEW = Progress(step=1, steps=2, preview=b"\xff\xd8")


class Counted(WorkMetrics):
    def __init__(self):
        self.requeued, self.previews = [], []

    def count_requeued(self, reason, jobs=1):
        self.requeued.append((reason, jobs))

    def observe_first_preview(self, job):
        self.previews.append(job.id)


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def harness(counted):
    return Harness(metrics=counted)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemory("8 GiB"), "out_of_memory"),
        (WorkerLost(was_alone=True), "worker_lost"),
        (WorkerLost(was_alone=False), "worker_lost"),
        (WorkerLost(was_alone=False, plugin="mark"), "plugin"),
        (Interrupted(), "interrupted"),
    ],
)
async def test_a_job_that_returns_to_the_queue_is_counted_by_its_reason(harness, counted, error, reason):
    job = make_job()
    harness.script(job, STEP, error, then=[make_done()])

    await harness.work_off(job)

    assert counted.requeued == [(reason, 1)]


async def test_a_job_that_ends_is_not_counted_as_returned(harness, counted):
    job = make_job()
    harness.script(job, STEP, OutOfMemory("8 GiB"))

    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.FAILED
    assert counted.requeued == [("out_of_memory", 1)]


async def test_leases_that_expired_are_counted(harness, counted, monkeypatch):
    async def requeue_expired(*, max_interruptions):
        return 2

    monkeypatch.setattr(harness.store, "requeue_expired", requeue_expired)
    async with harness.running(lease_s=5) as dispatcher:
        monkeypatch.setattr(type(dispatcher.settings), "lease_s", 0.01)
        await eventually(lambda: counted.requeued)

    assert counted.requeued[0] == ("lease", 2)


async def test_jobs_that_a_restart_interrupted_are_counted(harness, counted, monkeypatch):
    async def requeue_interrupted(*, max_interruptions):
        return 3

    monkeypatch.setattr(harness.store, "requeue_interrupted", requeue_interrupted)
    await recover_jobs(harness.store, harness.models, max_interruptions=9, metrics=counted)

    assert counted.requeued == [("restart", 3)]


async def test_only_the_first_preview_of_a_job_is_measured(harness, counted):
    job = make_job()
    harness.script(job, STEP, PREVIEW, PREVIEW, make_done())

    await harness.work_off(job)

    assert counted.previews == [job.id]
