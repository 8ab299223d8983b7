"""Server-sent events of a job."""

import asyncio
from typing import Any

import pytest
from fastapi import sse

from tests.web.api_client import ask, events_of, imagine, job_of, make, parsed, problem, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_job_is_followed_from_state_through_progress_to_result(server, client):
    job_id = (await ask(client, imagine("slow", steps=8)))["id"]
    await wait_for(client, job_id, "running")

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        events = []
        async for event in parsed(stream):
            events.append(event)
            if event["name"] == "progress":
                server.pool.go_on.set()

    names = [event["name"] for event in events]
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-cache"
    assert names[0] == "state"
    assert "progress" in names
    assert names[-1] == "result"
    assert names.count("result") == 1


async def test_state_and_result_carry_the_job_and_its_stored_version_as_id(server, client):
    job_id = (await ask(client, imagine("slow")))["id"]
    server.pool.go_on.set()

    events = await events_of(client, job_id)

    stored = [event for event in events if event["name"] != "progress"]
    versions = [int(event["id"]) for event in stored]
    assert stored[-1]["data"] == await job_of(client, job_id)
    assert set(stored[0]["data"]) == set(stored[-1]["data"])
    assert versions == sorted(versions)
    assert versions[-1] == (await server.storage.jobs.get_job(job_id, None)).version


async def test_progress_has_no_id_and_a_small_preview(server, client):
    job_id = (await ask(client, imagine("slow", steps=8)))["id"]

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        seen = []
        async for event in parsed(stream):
            if event["name"] == "progress":
                seen.append(event)
                if len(seen) == 3:
                    break

    assert [event["id"] for event in seen] == [None, None, None]
    assert set(seen[-1]["data"]) == {"step", "steps", "eta_s", "preview"}
    assert (seen[-1]["data"]["step"], seen[-1]["data"]["steps"]) == (2, 8)
    assert seen[-1]["data"]["preview"].startswith("data:image/jpeg;base64,")


async def test_progress_comes_at_most_twice_a_second(server, client):
    job_id = (await ask(client, imagine("slow")))["id"]
    loop = asyncio.get_running_loop()

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        times = []
        async for event in parsed(stream):
            if event["name"] == "progress":
                times.append(loop.time())
                if len(times) == 4:
                    break

    assert times[-1] - times[0] > 1.3


async def test_a_finished_job_sends_state_and_result_and_closes(shared_client):
    job = await make(shared_client)

    events = await events_of(shared_client, job["id"], **{"Last-Event-ID": "99"})

    assert [event["name"] for event in events] == ["state", "result"]
    assert events[1]["data"] == job


async def test_a_failure_ends_with_its_error(shared_client):
    job = await make(shared_client, imagine("fail"))

    events = await events_of(shared_client, job["id"])

    assert [event["name"] for event in events] == ["state", "error"]
    assert events[1]["data"] == job["error"]
    assert events[1]["id"] == events[0]["id"]


async def test_a_cancellation_ends_the_stream_with_its_error(client):
    await wait_for(client, (await ask(client, imagine("slow")))["id"], "running")
    waiting = (await ask(client))["id"]
    events: list[dict[str, Any]] = []
    async with client.stream("GET", f"/api/v1/jobs/{waiting}/events") as stream:
        async for event in parsed(stream):
            if not events:
                await client.delete(f"/api/v1/jobs/{waiting}")
            events.append(event)

    assert events[0]["data"]["position"] == 1
    assert events[-1]["name"] == "error"
    assert events[-1]["data"]["code"] == "cancelled"


@pytest.mark.parametrize("last", ["", "abc", "-1", "\u00e9", "9" * 5000])
async def test_any_last_event_id_is_harmless(shared_client, last):
    job = await make(shared_client)

    events = await events_of(shared_client, job["id"], **{"Last-Event-ID": last.encode("latin-1")})

    assert events[0]["name"] == "state"


async def test_a_silent_stream_is_kept_alive_by_comments(client, monkeypatch):
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    await ask(client, imagine("slow"))
    waiting = (await ask(client))["id"]

    async with client.stream("GET", f"/api/v1/jobs/{waiting}/events") as stream:
        async for line in stream.aiter_lines():
            if line.startswith(":"):
                break

    assert line == sse.KEEPALIVE_COMMENT.decode().strip()


async def test_a_disconnected_follower_is_forgotten(server, client):
    job_id = (await ask(client, imagine("slow")))["id"]

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        await anext(stream.aiter_lines())
        assert server.is_followed(job_id)

    async with asyncio.timeout(3):
        while server.is_followed(job_id):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


async def test_many_may_follow_one_job(server, client):
    job_id = (await ask(client, imagine("slow")))["id"]
    following = [asyncio.create_task(events_of(client, job_id)) for _ in range(8)]
    await asyncio.sleep(0.3)

    server.pool.go_on.set()

    assert {(await events)[-1]["name"] for events in following} == {"result"}


async def test_an_unknown_job_has_no_stream(shared_client):
    problem(await shared_client.get("/api/v1/jobs/aaaaaaaaaaaaaaaa/events"), 404, "not_found")
