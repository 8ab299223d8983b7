"""The backends of `easel mcp`: both fulfil the same contract, are opened when needed and closed when idle."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from adapters.cli.client.mcp_backends import BackendOnDemand, LocalBackend, RestBackend, open_backend
from adapters.cli.error_output import Failure
from adapters.mcp.tool_backend import ToolJobRequest
from bot.errors import EaselError, InvalidOption, StartupError
from bot.jobs import ImageRef
from bot.runtime.lock import DataLock, read_holder
from bot.runtime.lock_requests import OFFER_NAME, LockOffer, LockRequest, wait_for_offered_lock
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture

NAMED: Any = object()
IMAGINE = ToolJobRequest(command="imagine", options={"prompt": "a red circle", "seed": 7})
BACKENDS = {"local": LocalBackend, "remote": RestBackend}


@pytest.fixture(params=["local", "remote"])
def mode(request, data_dir):
    if request.param == "local":
        yield "local"
        return
    with serving(data_dir):
        yield "remote"


@pytest.fixture
def loaded(composition):
    return composition.load(None)


@pytest.fixture
async def backend(mode, composition, loaded):
    async with open_backend(composition, loaded) as opened:
        assert isinstance(opened, BACKENDS[mode])
        yield opened


async def finish(backend, job_id):
    return [job async for job in backend.follow_job(job_id)][-1]


async def test_a_job_is_followed_to_its_end_and_comes_from_mcp(backend):
    (job_id,) = await backend.submit_jobs(IMAGINE)

    job = await finish(backend, job_id)

    assert job["state"] == "delivered"
    assert (job["facts"]["platform"], job["facts"]["client"]) == ("web", "mcp")
    assert (await backend.read_job(job_id[:6]))["id"] == job_id
    media = await backend.read_image(job["result"]["media"][0]["id"])
    assert (media.data, media.media_type) == (picture(7, 64, 64), "image/png")


async def test_an_image_that_is_too_large_is_not_read(backend):
    (job_id,) = await backend.submit_jobs(IMAGINE)
    job = await finish(backend, job_id)

    assert await backend.read_image(job["result"]["media"][0]["id"], max_bytes=10) is None


async def test_an_upload_is_asked_about_and_follows_a_job(backend):
    image_id = await backend.upload_image(picture(3, 32, 32))
    images = (ImageRef(image_id),)
    (first,) = await backend.submit_jobs(ToolJobRequest(command="ask", options={"question": "what?"}, images=images))
    await finish(backend, first)

    (job_id,) = await backend.submit_jobs(
        ToolJobRequest(command="ask", options={"question": "why?"}, images=images, parent=first)
    )

    job = await finish(backend, job_id)
    assert (job["result"]["text"], job["parent"]) == ("It is why?", first)


async def test_a_quote_confirms_several_combinations(backend):
    request = ToolJobRequest(command="imagine", options={"prompt": "a {red|green} circle"})
    price = await backend.quote_price(request)

    ids = await backend.submit_jobs(
        ToolJobRequest(command=request.command, options=request.options, quote=price["quote"])
    )

    assert (price["jobs"], len(ids)) == (2, 2)
    assert [job["id"] for job in (await backend.list_jobs("circle", before=None, limit=1))[0]] == [ids[1]]


async def test_commands_models_and_the_quota_are_those_of_rest(backend):
    assert {"imagine", "caption"} <= {command["name"] for command in await backend.list_commands()}
    assert "paint" in [model["name"] for model in await backend.list_models()]
    assert (await backend.get_quota())["unit"] == "device-seconds"


async def test_errors_are_easels(backend):
    with pytest.raises((InvalidOption, Failure)):
        await backend.submit_jobs(ToolJobRequest(command="imagine", options={"prompt": "a", "steps": 0}))
    with pytest.raises(EaselError):
        await backend.read_job("aaaaaaaaaaaaaaaa")


# ---------------------------------------------------------------- on demand


@pytest.fixture
async def on_demand(composition, loaded):
    backends = BackendOnDemand(
        lambda: open_backend(composition, loaded), LockOffer(loaded.data_dir), idle_s=0.05, poll_s=0.02
    )
    yield backends
    await backends.close()


async def wait_until_free(data_dir):
    while True:
        if read_holder(data_dir) is None:
            return
        await asyncio.sleep(0.01)


async def test_the_data_directory_is_held_only_while_it_is_needed(on_demand, data_dir):
    assert read_holder(data_dir) is None
    async with on_demand.use() as backend:
        assert read_holder(data_dir) is not None
        await backend.get_quota()

    await wait_until_free(data_dir)
    async with on_demand.use() as again:
        assert again is not backend


async def test_it_is_held_until_the_jobs_that_run_in_this_process_have_ended(on_demand, data_dir):
    async with on_demand.use() as backend:
        await backend.submit_jobs(IMAGINE)
        await backend.submit_jobs(IMAGINE)

    await wait_until_free(data_dir)

    async with on_demand.use() as backend:
        jobs, _ = await backend.list_jobs("", before=None, limit=5)
    assert [job["state"] for job in jobs] == ["delivered", "delivered"]


async def test_a_server_that_starts_gets_the_data_directory_of_one_that_is_idle(composition, loaded, data_dir):
    backends = BackendOnDemand(lambda: open_backend(composition, loaded), LockOffer(data_dir), idle_s=600, poll_s=0.02)
    async with backends.use() as backend:
        await backend.submit_jobs(IMAGINE)

    await asyncio.to_thread(wait_for_offered_lock, data_dir)

    with DataLock(data_dir):
        pass
    async with backends.use() as backend:
        jobs, _ = await backend.list_jobs("", before=None, limit=5)
    await backends.close()
    assert [job["state"] for job in jobs] == ["delivered"]


async def test_another_command_gets_the_data_directory_of_one_that_is_idle(composition, loaded, data_dir):
    first, second = [
        BackendOnDemand(lambda: open_backend(composition, loaded), LockOffer(data_dir), idle_s=600, poll_s=0.02)
        for _ in range(2)
    ]
    for backends in (first, second, first):
        async with backends.use() as backend:
            await backend.get_quota()

    await first.close()
    await second.close()
    assert read_holder(data_dir) is None


def test_a_holder_that_is_busy_or_gone_is_not_waited_for_longer_than_the_limit(tmp_path):
    wait_for_offered_lock(tmp_path, 60)
    with LockOffer(tmp_path) as offer:
        offer.acquire()
        wait_for_offered_lock(tmp_path, 0.1)
        assert not offer.is_asked()
        with LockRequest(tmp_path) as request:
            request.acquire()
            assert offer.is_asked()
    wait_for_offered_lock(tmp_path, 60)
    assert (tmp_path / OFFER_NAME).stat().st_size == 0


async def test_calls_at_the_same_time_share_one_backend(on_demand):
    async def call():
        async with on_demand.use() as backend:
            await backend.get_quota()
            return backend

    first, second = await asyncio.gather(call(), call())

    assert first is second


async def test_a_server_that_is_gone_is_noticed_before_the_next_call(composition, loaded, data_dir):
    backends = BackendOnDemand(lambda: open_backend(composition, loaded), LockOffer(loaded.data_dir))
    with serving(data_dir):
        async with backends.use() as backend:
            await backend.get_quota()

    async with backends.use() as again:
        assert isinstance(again, LocalBackend)
        quota = await again.get_quota()
    await backends.close()

    assert quota["unit"] == "device-seconds"


async def test_a_call_that_waits_for_its_server_is_not_disturbed_by_another_one(tmp_path):
    """The first backend stays open for the first call, although the second call has found its server gone."""
    opened, closed = [], []

    @asynccontextmanager
    async def open_one():
        gone: Any = GoneServer()
        backend = RestBackend(gone)
        opened.append(backend)
        yield backend
        closed.append(backend)

    backends = BackendOnDemand(open_one, LockOffer(tmp_path), poll_s=0.01)
    async with backends.use() as first, backends.use() as second:
        assert first is not second
        await asyncio.sleep(0.05)
        assert closed == []
    await backends.close()

    assert set(closed) == set(opened)


async def test_a_submission_whose_answer_is_lost_is_repeated_but_makes_one_job(
    composition, loaded, data_dir, monkeypatch
):
    send, lost = httpx.AsyncClient.request, ["jobs"]

    async def lose_one(self, method, url, **more):
        answer = await send(self, method, url, **more)
        if lost and method == "POST" and url.endswith(lost[0]):
            lost.pop()
            raise httpx.ReadError("the connection was lost")
        return answer

    monkeypatch.setattr(httpx.AsyncClient, "request", lose_one)
    with serving(data_dir):
        async with open_backend(composition, loaded) as backend:
            (job_id,) = await backend.submit_jobs(IMAGINE)
            jobs, _ = await backend.list_jobs("", before=None, limit=5)

    assert [job["id"] for job in jobs] == [job_id]


class GoneServer:
    async def is_current(self):
        return False


async def test_a_server_that_goes_during_a_call_is_looked_for_at_the_next(tmp_path):
    opened = []

    @asynccontextmanager
    async def open_one():
        opened.append("a backend")
        yield opened[-1]

    backends = BackendOnDemand(open_one, LockOffer(tmp_path), poll_s=0.01)
    with pytest.raises(Failure):
        async with backends.use():
            raise Failure("It does not respond.", code="server_gone")
    async with backends.use():
        pass
    await backends.close()

    assert len(opened) == 2


async def test_a_backend_that_cannot_be_opened_is_an_error_of_that_call_alone(tmp_path):
    failures = [StartupError("not now")]

    @asynccontextmanager
    async def open_one():
        if failures:
            raise failures.pop()
        yield NAMED

    backends = BackendOnDemand(open_one, LockOffer(tmp_path))
    with pytest.raises(StartupError):
        async with backends.use():
            pass

    async with backends.use() as backend:
        assert backend is NAMED
    await backends.close()


async def test_closing_does_not_wait_for_a_backend_that_is_being_opened(data_dir, composition, loaded):
    with DataLock(data_dir):  # a server that has not published its address
        backends = BackendOnDemand(lambda: open_backend(composition, loaded), LockOffer(loaded.data_dir))
        opening = asyncio.create_task(backends.use().__aenter__())
        await asyncio.sleep(0.01)

        async with asyncio.timeout(10):
            await backends.close()
            with pytest.raises(EaselError):
                await opening


async def test_a_backend_that_is_opened_slowly_is_open_while_it_is_used(tmp_path):
    is_open = False

    @asynccontextmanager
    async def open_one():
        nonlocal is_open
        await asyncio.sleep(0.05)
        is_open = True
        yield "a backend"
        is_open = False

    backends = BackendOnDemand(open_one, LockOffer(tmp_path), idle_s=0.01, poll_s=0.01)
    async with backends.use():
        await asyncio.sleep(0.05)
        assert is_open
    await backends.close()
    assert not is_open
