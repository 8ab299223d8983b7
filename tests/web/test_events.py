"""Server-sent events of a job."""

import asyncio
from typing import Any

import pytest
from fastapi import sse

from tests.web.api_client import ask, events_of, imagine, job_of, make, parsed, problem, wait_for
from tests.web.conftest import SECRET, open_client

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
    assert events[0]["data"]["progress"]["phase"] in ("waiting", "running")
    assert events[-1]["data"]["progress"] is None
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


async def test_a_model_that_loads_is_a_phase_whose_time_counts(server, client):
    job_id = (await ask(client, imagine("loads", steps=8)))["id"]
    phases = []

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        async for event in parsed(stream):
            if event["name"] == "progress":
                phases.append(event["data"]["phase"])
                if event["data"]["phase"] == "loading" and not server.pool.go_on.is_set():
                    job = await job_of(client, job_id)
                    assert event["data"]["eta_s"] > 20
                    server.pool.go_on.set()

    assert (job["progress"], job["eta_s"] > 20) == ({"phase": "loading", "step": 0, "steps": 8, "text": None}, True)
    assert phases[0] == "loading"


async def test_progress_without_previews_costs_none(server, client):
    job_id = (await ask(client, imagine("slow", steps=8)))["id"]

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events?previews=false") as stream:
        shown = await anext(event async for event in parsed(stream) if event["data"].get("step"))
    refused = await client.get(f"/api/v1/jobs/{job_id}/events?previews=some")

    assert shown["data"]["preview"] is None
    assert not server.pool.watched[job_id]
    assert (refused.status_code, "previews" in refused.text) == (422, True)


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
    assert set(seen[-1]["data"]) == {"phase", "step", "steps", "eta_s", "preview", "text"}
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

    assert times[-1] - times[0] > 0.8  # 1.5, unless the first was read late; without the limit 0.1


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

    async with asyncio.timeout(30):
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


# ---------------------------------------------------------------- access that ends


async def names_until_the_end(easel, headers, end) -> list[str]:
    """The events of a stream of a job that never finishes, while `end` is called after the first."""
    async with open_client(easel) as client:
        client.headers.update(headers)
        job_id = (await ask(client, imagine("slow")))["id"]
        async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
            events = parsed(stream)
            first = await anext(events)
            await end(client)
            async with asyncio.timeout(30):
                return [first["name"], *[event["name"] async for event in events]]


@pytest.mark.parametrize("ending", ["revoke", "command line", "forget"])
async def test_a_revoked_keys_streams_end(easel, ending):
    await easel.serve()
    key, text = await easel.usecases.people.create_key("ann", is_admin=False)

    async def end(client) -> None:
        if ending == "revoke":
            await easel.usecases.people.revoke_key(key.prefix)
        elif ending == "forget":
            await easel.usecases.people.forget_person(key.person)
        else:
            secret = {"Authorization": f"Bearer {SECRET}"}
            assert (await client.delete(f"/internal/keys/{key.prefix}", headers=secret)).status_code == 200

    names = await names_until_the_end(easel, {"Authorization": f"Bearer {text}"}, end)

    assert not {"result", "error"} & set(names)


async def test_streams_without_a_key_end_when_the_first_key_is_created(easel):
    await easel.serve()

    names = await names_until_the_end(easel, {}, lambda _client: easel.create_key("ann"))

    assert not {"result", "error"} & set(names)


async def test_other_streams_go_on(easel):
    await easel.serve()
    gone, _ = await easel.usecases.people.create_key("ann", is_admin=False)
    _, other = await easel.usecases.people.create_key("ann", is_admin=False)

    async def end(client) -> None:
        await easel.usecases.people.revoke_key(gone.prefix)
        await easel.create_key("ben")
        easel.pool.go_on.set()

    for headers in ({"Authorization": f"Bearer {other}"}, {"Authorization": f"Bearer {SECRET}"}):
        assert (await names_until_the_end(easel, headers, end))[-1] == "result"
        easel.pool.go_on.clear()
    assert not await easel.usecases.people.is_active(gone.prefix)


async def test_a_key_revoked_while_its_stream_opens_gets_no_events(easel, monkeypatch):
    await easel.serve()
    key, text = await easel.usecases.people.create_key("ann", is_admin=False)
    get_ticket = type(easel.usecases.jobs).get_ticket

    async def revoke_first(self, person, job_id):
        await easel.usecases.people.revoke_key(key.prefix)
        return await get_ticket(self, person, job_id)

    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {text}"
        job_id = (await ask(client, imagine("slow")))["id"]
        monkeypatch.setattr(type(easel.usecases.jobs), "get_ticket", revoke_first)
        async with asyncio.timeout(30):
            assert await events_of(client, job_id) == []
