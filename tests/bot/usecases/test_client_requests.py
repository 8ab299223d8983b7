"""Calls of other programs that are sent again before the first has become a job."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from bot.jobs import JobState, Origin
from bot.usecases import Request
from bot.usecases.client_requests import ClientRequests

ANN: Any = None
"""Nobody asks who it is."""
ORIGIN = Origin(platform="web", space_id="web", account_id="ann")
FOX = Request(origin=ORIGIN, command="imagine", options={"prompt": "a fox"})
OWL = Request(origin=ORIGIN, command="imagine", options={"prompt": "an owl"})


@dataclass
class Jobs:
    """The store, and the use cases: a job takes a while to be accepted."""

    accepted: list[str] = field(default_factory=list)
    going_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, person, request, *, key):
        await self.going_on.wait()
        self.accepted.append(key)
        return [key]

    async def find_recent_request(self, prefix, digest, since):
        mine = [key for key in self.accepted if key.startswith(prefix)]
        return [SimpleNamespace(id=mine[-1], cancel_requested=False, state=JobState.RUNNING)] if mine else []

    async def ticket_for(self, job):
        return job.id


@pytest.fixture
def jobs():
    return Jobs()


async def submit_together(jobs, *calls):
    """The jobs of calls, (request, caller, is_retry), that all begin before the first is accepted."""
    requests = ClientRequests(jobs, jobs)
    calling = [
        asyncio.create_task(requests.submit(ANN, request, caller=caller, is_retry=is_retry))
        for request, caller, is_retry in calls
    ]
    await asyncio.sleep(0)
    jobs.going_on.set()
    return [job for (job,) in await asyncio.gather(*calling)]


async def test_a_retry_waits_for_the_call_that_it_repeats(jobs):
    found = await submit_together(jobs, (FOX, "ann", False), (FOX, "ann", True), (FOX, "ann", True))

    assert len(jobs.accepted) == len(set(found)) == 1


async def test_equal_calls_that_are_no_retries_are_jobs_of_their_own(jobs):
    assert len(set(await submit_together(jobs, (FOX, "ann", False), (FOX, "ann", False)))) == 2


async def test_others_and_other_requests_wait_for_nobody(jobs):
    requests = ClientRequests(jobs, jobs)
    waiting = asyncio.create_task(requests.submit(ANN, FOX, caller="ann"))
    others = [
        asyncio.create_task(requests.submit(ANN, request, caller=caller, is_retry=True))
        for request, caller in ((OWL, "ann"), (FOX, "ben"))
    ]
    await asyncio.sleep(0)
    jobs.going_on.set()

    assert len(set(map(str, await asyncio.gather(waiting, *others)))) == 3
