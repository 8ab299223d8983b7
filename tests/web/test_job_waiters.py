"""Who waits for a job of another program's API: it is cancelled when the last of its clients has gone."""

import asyncio

import pytest

from adapters.web import job_waiters
from adapters.web.job_waiters import JobWaiters
from bot.errors import NotCancellable


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(job_waiters, "GRACE_S", 0.0)


class Cancelled:
    """Records what is cancelled. `refuses`: the job had ended."""

    def __init__(self, *, refuses=False):
        self.ids, self.refuses, self.tried = [], refuses, asyncio.Event()

    async def __call__(self, job_id):
        self.tried.set()
        if self.refuses:
            raise NotCancellable(job_id, "delivered")
        self.ids.append(job_id)


async def settle(waiters):
    """Until everything that was due after the grace is done."""
    await asyncio.gather(*waiters._cancelling)


async def test_a_job_is_cancelled_when_its_client_has_gone():
    waiters, cancel = JobWaiters(asyncio.Event()), Cancelled()
    async with waiters.hold(["one", "two"], cancel):
        pass
    await settle(waiters)

    assert cancel.ids == ["one", "two"]


async def test_a_job_goes_on_while_another_client_waits_for_it():
    waiters, cancel = JobWaiters(asyncio.Event()), Cancelled()
    async with waiters.hold(["one"], cancel):
        async with waiters.hold(["one", "two"], cancel):
            pass
        await settle(waiters)
        held = list(cancel.ids)
    await settle(waiters)

    assert (held, cancel.ids) == (["two"], ["two", "one"])


async def test_a_client_that_comes_back_within_the_grace_keeps_its_job(monkeypatch):
    monkeypatch.setattr(job_waiters, "GRACE_S", 0.02)
    waiters, cancel = JobWaiters(asyncio.Event()), Cancelled()
    async with waiters.hold(["one"], cancel):
        pass
    async with waiters.hold(["one"], cancel):
        await settle(waiters)
        held = list(cancel.ids)
    await settle(waiters)

    assert (held, cancel.ids) == ([], ["one"])


async def test_jobs_that_have_ended_are_no_error():
    waiters, cancel = JobWaiters(asyncio.Event()), Cancelled(refuses=True)
    async with waiters.hold(["one"], cancel):
        pass
    await settle(waiters)

    assert cancel.tried.is_set()


async def test_a_server_that_stops_cancels_nothing():
    closing, cancel = asyncio.Event(), Cancelled()
    waiters = JobWaiters(closing)
    async with waiters.hold(["one"], cancel):
        closing.set()
    await settle(waiters)

    assert cancel.ids == []
