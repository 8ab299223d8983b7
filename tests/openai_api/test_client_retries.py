"""Clients that try again, and clients that hang up: a call is one job, and nobody's job runs for nobody."""

import asyncio

import pytest

from adapters.web import job_waiters
from bot.jobs import JobState
from tests.openai_api.conftest import SOME_KEY
from tests.openai_api.openai_bodies import CHAT, EDITS, GENERATIONS, chat, data_url, user
from tests.web.conftest import SECRET, open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
RETRY = {"x-stainless-retry-count": "1"}
LOCAL = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(job_waiters, "GRACE_S", 0.05)


@pytest.fixture
def pool(shared_server):
    shared_server.pool.go_on.clear()
    yield shared_server.pool
    shared_server.pool.go_on.set()


@pytest.fixture
def word(request):
    """Finds the jobs of one test."""
    return f"w{abs(hash(request.node.name))}"


async def jobs_of(client, word):
    return (await client.get(f"/api/v1/jobs?q={word}", headers=LOCAL)).json()["jobs"]


async def wait_for_job(client, word, state):
    """The test's only job, once it is in the state."""
    async with asyncio.timeout(20):
        while not (jobs := await jobs_of(client, word)) or jobs[0]["state"] != state:  # noqa: ASYNC110 - the server is polled
            await asyncio.sleep(0.01)
    (job,) = jobs
    return job


async def hang_up(client, word, path, **request):
    """Send a call, and hang up once its job runs."""
    calling = asyncio.create_task(client.post(path, **request))
    await wait_for_job(client, word, "running")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


def request_for(kind, words):
    """Path and body of a call about these words."""
    match kind:
        case "image":
            return GENERATIONS, {"json": {"prompt": words}}
        case "image stream":
            return GENERATIONS, {"json": {"prompt": words, "stream": True, "partial_images": 1}}
        case "edit":
            return EDITS, {"data": {"prompt": words}, "files": {"image": ("a.png", picture(3, 48, 32))}}
        case "chat":
            return CHAT, {"json": chat(user(words, data_url()))}
    return "/v1/responses", {"json": {"input": [user(words, data_url())], "stream": True}}


@pytest.mark.parametrize("kind", ["image", "image stream", "edit", "chat", "response stream"])
async def test_the_job_of_a_client_that_hangs_up_is_cancelled(client, pool, word, kind):
    path, request = request_for(kind, f"slow {word}")
    await hang_up(client, word, path, **request)

    assert (await wait_for_job(client, word, "cancelled"))["cancel_requested"]


@pytest.mark.parametrize("kind", ["image", "image stream"])
async def test_a_client_that_tries_again_gets_the_job_of_its_first_try(client, pool, word, monkeypatch, kind):
    monkeypatch.setattr(job_waiters, "GRACE_S", 20)
    path, request = request_for(kind, f"slow {word}")
    await hang_up(client, word, path, **request)
    pool.go_on.set()
    again = await client.post(path, headers=RETRY, **request)
    once_more = await client.post(path, headers=RETRY, **request)

    assert (again.status_code, once_more.status_code) == (200, 200)
    assert len(await jobs_of(client, word)) == 1


async def test_an_equal_call_that_is_no_retry_is_another_job(client, word):
    for _ in range(2):
        await client.post(GENERATIONS, json={"prompt": word})
    other = await client.post(GENERATIONS, json={"prompt": f"another {word}"}, headers=RETRY)

    assert other.status_code == 200
    assert len(await jobs_of(client, word)) == 3


async def test_a_retry_of_a_failed_job_is_a_new_job(client, word):
    for headers in ({}, RETRY):
        answer = await client.post(GENERATIONS, json={"prompt": f"fail {word}"}, headers=headers)
        assert answer.status_code == 500

    assert len(await jobs_of(client, word)) == 2


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"stream": True, "partial_images": 0}])
async def test_a_call_that_waits_causes_no_previews(server, more):
    async with open_client(server) as client:
        client.headers.update(SOME_KEY)
        calling = asyncio.create_task(client.post(GENERATIONS, json={"prompt": "slow lone", **more}))
        job = await wait_for_job(client, "lone", "running")
        is_watched = server.is_followed(job["id"])
        server.pool.go_on.set()
        answer = await calling

    assert answer.status_code == 200
    assert not is_watched


async def test_a_job_goes_on_at_the_next_server_when_this_one_stops(server):
    async with open_client(server) as client:
        client.headers.update(SOME_KEY)
        calling = asyncio.create_task(client.post(GENERATIONS, json={"prompt": "slow lone"}))
        job = await wait_for_job(client, "lone", "running")
        await server.stop()
        await asyncio.gather(calling, return_exceptions=True)
        await asyncio.sleep(0.1)  # longer than the grace
    stored = await server.storage.jobs.get_job(job["id"], None)

    assert not stored.cancel_requested
    assert stored.state is not JobState.CANCELLED
