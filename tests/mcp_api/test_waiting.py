"""Calls that take long: progress, an answer before programs give up, and cancellation."""

import asyncio
from contextlib import suppress

import pytest

from tests.backends_required import require_backend

require_backend("mcp")

from mcp import MCPError  # noqa: E402 - after the library is known to be there

from tests.mcp_api.mcp_client import ERAS, connect, job_id_of, texts_of, uris_of  # noqa: E402
from tests.web.conftest import open_client  # noqa: E402

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def wait_for_job(served, state):
    """The newest job, once it is in this state."""
    async with open_client(served) as client:
        while True:
            jobs = (await client.get("/api/v1/jobs?limit=1")).json()["jobs"]
            if jobs and jobs[0]["state"] == state:
                return jobs[0]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_only_grows_and_says_what_is_done(server, mode):
    seen = []

    async def note(progress, total, message):
        seen.append((progress, total, message))
        if "Step 2" in message:
            server.pool.go_on.set()

    async with connect(server, mode=mode) as client:
        await client.call_tool("imagine", {"prompt": "slow"}, progress_callback=note)

    values = [progress for progress, _, _ in seen]
    assert values == sorted(set(values))
    assert any(message.startswith("Step 2 of 5") and total == 5 for _, total, message in seen)


async def test_a_call_that_waits_causes_no_previews(server):
    async with connect(server) as client:
        calling = asyncio.create_task(client.call_tool("imagine", {"prompt": "slow"}))
        job = await wait_for_job(server, "running")
        is_watched = server.is_followed(job["id"])
        server.pool.go_on.set()
        await calling

    assert not is_watched


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_takes_long_answers_with_the_job_which_goes_on(easel, mode):
    await easel.serve(mcp_wait_s=0.2)

    async with connect(easel, mode=mode) as client:
        early = await client.call_tool("imagine", {"prompt": "slow"})
        still = await client.call_tool("job", {"id": job_id_of(early), "wait": False})
        easel.pool.go_on.set()
        await wait_for_job(easel, "delivered")
        late = await client.call_tool("job", {"id": job_id_of(early)[:6]})

    for answer in (early, still):
        assert not answer.is_error
        assert "has not finished" in texts_of(answer)[0]
        assert "`job`" in texts_of(answer)[0]
        assert answer.structured_content["state"] in ("queued", "running")
    assert len(uris_of(late)) == 1


async def test_the_job_tool_waits_for_the_result(easel):
    await easel.serve(mcp_wait_s=0.2)
    async with connect(easel) as client:
        job_id = job_id_of(await client.call_tool("imagine", {"prompt": "slow"}))
    await easel.stop()
    await easel.serve(mcp_wait_s=60)
    easel.pool.go_on.set()

    async with connect(easel) as client:
        result = await client.call_tool("job", {"id": job_id})

    assert len(uris_of(result)) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_is_cancelled_cancels_its_job(server, mode):
    async with connect(server, mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("imagine", {"prompt": "slow"}))
        await wait_for_job(server, "running")
        calling.cancel()
        await asyncio.wait([calling])

        assert (await wait_for_job(server, "cancelled"))["error"]["code"] == "cancelled"


async def test_a_client_that_gives_up_cancels_its_job(server):
    async with connect(server, mode="legacy") as client:
        with pytest.raises(MCPError):
            await client.call_tool("imagine", {"prompt": "slow"}, read_timeout_seconds=0.3)

        await wait_for_job(server, "cancelled")


async def test_the_cancel_tool_cancels_a_job(easel):
    await easel.serve(mcp_wait_s=0.1)
    async with connect(easel) as client:
        job_id = job_id_of(await client.call_tool("imagine", {"prompt": "slow"}))

        answer = await client.call_tool("cancel", {"id": job_id})
        await wait_for_job(easel, "cancelled")
        done = await client.call_tool("imagine", {"prompt": "a fox", "steps": 1})
        await wait_for_job(easel, "delivered")
        late = await client.call_tool("cancel", {"id": job_id_of(done)})

    assert not answer.is_error
    assert late.is_error
    assert "can no longer be cancelled" in texts_of(late)[0]


@pytest.mark.parametrize("tool", ["job", "cancel"])
async def test_a_job_that_is_not_there_is_a_sentence(shared_server, tool):
    async with connect(shared_server) as client:
        missing = await client.call_tool(tool, {})
        unknown = [await client.call_tool(tool, {"id": name}) for name in (7, "aaaaaaaa", "../../x")]

    assert all(answer.is_error for answer in (missing, *unknown))
    assert texts_of(missing) == ["id is required."]
    assert all(texts_of(answer)[0].startswith("You have no job called") for answer in unknown)


@pytest.mark.parametrize("mode", ERAS)
async def test_when_the_server_stops_calls_end_and_their_jobs_go_on(server, mode):
    started = asyncio.get_running_loop().time()
    with suppress(MCPError, ExceptionGroup):  # the connection ends as well
        async with connect(server, mode=mode) as client:
            calling = asyncio.create_task(client.call_tool("imagine", {"prompt": "slow"}))
            job = await wait_for_job(server, "running")
            await server.stop()
            await calling

    person = await server.usecases.people.local_person()
    ticket = await server.usecases.jobs.get_ticket(person, job["id"])
    assert not ticket.job.cancel_requested
    assert asyncio.get_running_loop().time() - started < 20
    server.pool.go_on.set()


async def test_a_grid_is_confirmed_and_answered_with_its_sheet_and_its_cells(shared_server):
    axes = {"x": {"option": "steps", "values": [2, 3]}, "y": {"option": "guidance_scale", "values": [4, 6]}}
    arguments = {"prompt": "a fox", "seed": 7, **axes}
    async with connect(shared_server) as client:
        (asked,) = texts_of(await client.call_tool("grid", arguments))
        grid = await client.call_tool("grid", {**arguments, "quote": asked.rpartition("quote = ")[2]})
        (sheet,) = uris_of(grid)
        blob = (await client.read_resource(sheet)).contents[0].blob
        name = texts_of(grid)[0].split()[1].strip(":")
        again = await client.call_tool("job", {"id": name})

    assert "4 combinations" in asked
    assert [block.type for block in grid.content] == ["text", "image", "resource_link"]
    assert blob
    assert texts_of(grid)[0].count("easel://job/") == 4
    assert texts_of(again) == texts_of(grid)


async def test_a_grid_that_takes_long_is_shown_and_cancelled_by_its_id(easel):
    await easel.serve(mcp_wait_s=0.1)
    arguments = {"prompt": "slow", "x": {"option": "seed", "values": [1, 2, 3]}}
    async with connect(easel) as client:
        (asked,) = texts_of(await client.call_tool("grid", arguments))
        early = await client.call_tool("grid", {**arguments, "quote": asked.rpartition("quote = ")[2]})
        name = job_id_of(early)
        still = await client.call_tool("job", {"id": name, "wait": False})
        cancelled = await client.call_tool("cancel", {"id": name})
        await wait_for_job(easel, "cancelled")

    assert "0 of 3 cells are done" in texts_of(early)[0]
    assert "cells are done" in texts_of(still)[0]
    assert not cancelled.is_error
