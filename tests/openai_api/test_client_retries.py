"""Clients that try again, and clients that hang up: a call is one job, and nobody's job runs for nobody."""

import asyncio

import pytest

from adapters.web import job_waiters
from bot.jobs import JobState
from tests.openai_api.conftest import SOME_KEY
from tests.openai_api.openai_bodies import CHAT, EDITS, GENERATIONS, chat, data_url, user
from tests.web.conftest import open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
RETRY = {"x-stainless-retry-count": "1"}
SLOW = {"prompt": "a slow circle"}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(job_waiters, "GRACE_S", 0.05)


@pytest.fixture
def client(server):
    server.pool.go_on.clear()
    return open_client(server)


async def jobs_of(client):
    return (await client.get("/api/v1/jobs")).json()["jobs"]


async def wait_for_job(client, *states):
    """The only job, once it is in one of the states."""
    async with asyncio.timeout(20):
        while not (jobs := await jobs_of(client)) or jobs[0]["state"] not in states:  # noqa: ASYNC110 - the server is polled
            await asyncio.sleep(0.01)
    (job,) = jobs
    return job


async def hang_up(client, path, **request):
    """Send a call, and hang up once its job runs."""
    calling = asyncio.create_task(client.post(path, headers=SOME_KEY, **request))
    await wait_for_job(client, "running")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "request_parts"),
    [
        (GENERATIONS, {"json": SLOW}),
        (GENERATIONS, {"json": {**SLOW, "stream": True, "partial_images": 1}}),
        (EDITS, {"data": SLOW, "files": {"image": ("a.png", picture(3, 48, 32))}}),
        (CHAT, {"json": chat(user("a slow question?", data_url()))}),
        (CHAT, {"json": chat(user("a slow question?", data_url()), stream=True)}),
        ("/v1/responses", {"json": {"input": [user("a slow question?", data_url())], "stream": True}}),
    ],
    ids=["image", "image stream", "edit", "chat", "chat stream", "response stream"],
)
async def test_the_job_of_a_client_that_hangs_up_is_cancelled(client, path, request_parts):
    async with client:
        await hang_up(client, path, **request_parts)
        job = await wait_for_job(client, "cancelled")

    assert job["cancel_requested"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_tries_again_gets_the_job_of_its_first_try(server, client, monkeypatch, stream):
    monkeypatch.setattr(job_waiters, "GRACE_S", 20)
    body = {**SLOW, "stream": stream}
    async with client:
        await hang_up(client, GENERATIONS, json=body)
        server.pool.go_on.set()
        again = await client.post(GENERATIONS, json=body, headers={**SOME_KEY, **RETRY})
        once_more = await client.post(GENERATIONS, json=body, headers={**SOME_KEY, **RETRY})
        jobs = await jobs_of(client)

    assert (again.status_code, once_more.status_code) == (200, 200)
    assert len(jobs) == 1


async def test_an_equal_call_that_is_no_retry_is_another_job(server, client):
    server.pool.go_on.set()
    async with client:
        for _ in range(2):
            await client.post(GENERATIONS, json={"prompt": "a circle"}, headers=SOME_KEY)
        other = await client.post(GENERATIONS, json={"prompt": "another circle"}, headers={**SOME_KEY, **RETRY})
        jobs = await jobs_of(client)

    assert other.status_code == 200
    assert len(jobs) == 3


async def test_a_retry_of_a_failed_job_is_a_new_job(client):
    async with client:
        for headers in (SOME_KEY, {**SOME_KEY, **RETRY}):
            answer = await client.post(GENERATIONS, json={"prompt": "fail"}, headers=headers)
            assert answer.status_code == 500
        jobs = await jobs_of(client)

    assert len(jobs) == 2


async def test_a_job_goes_on_at_the_next_server_when_this_one_stops(server, client):
    async with client:
        calling = asyncio.create_task(client.post(GENERATIONS, json=SLOW, headers=SOME_KEY))
        job = await wait_for_job(client, "running")
        await server.stop()
        await asyncio.gather(calling, return_exceptions=True)
        await asyncio.sleep(0.1)  # longer than the grace
    stored = await server.storage.jobs.get_job(job["id"], None)

    assert not stored.cancel_requested
    assert stored.state is not JobState.CANCELLED
