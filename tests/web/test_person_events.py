"""`GET /events`: the changes of all of a person's jobs as one stream that can be resumed."""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest

from bot.jobs import Origin
from bot.usecases import Request, person_events
from tests.web.api_client import ask, imagine, job_of, make, parsed, problem
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORED = ("ready", "state", "result", "error", "erased")
SLACK_S = 4.0
"""For a machine that has much else to do."""


@asynccontextmanager
async def follow(client, after=None, **headers):
    """An open stream's events."""
    params = {} if after is None else {"after": str(after)}
    async with client.stream("GET", "/api/v1/events", params=params, headers=headers) as stream:
        assert stream.status_code == 200
        yield parsed(stream)


async def until(events, name, job_id=None):
    """The events up to the first of this name (of this job)."""
    found = []
    async with asyncio.timeout(30):
        async for event in events:
            found.append(event)
            if event["name"] == name and job_id in (None, event["data"]["job"]):
                return found
    raise AssertionError("the stream ended")


@asynccontextmanager
async def person_client(easel, name):
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {await easel.create_key(name)}"
        yield client


async def test_a_job_of_another_tab_is_followed_to_its_result(server, client):
    async with follow(client) as events:
        [ready] = await until(events, "ready")
        job_id = (await ask(client, imagine("slow", steps=8)))["id"]
        seen = await until(events, "progress", job_id)
        server.pool.go_on.set()
        seen += await until(events, "result", job_id)

    numbers = [int(event["id"]) for event in seen if event["name"] in STORED]
    states = [event["data"]["state"] for event in seen if event["name"] == "state"]
    assert ready == {"name": "ready", "id": "0", "data": {"job": None, "resumed": False}}
    assert {event["data"]["job"] for event in seen} == {job_id}
    assert numbers == sorted(set(numbers))
    assert states[0] in ("queued", "running")
    assert seen[-1]["data"] == {**await job_of(client, job_id), "job": job_id}
    assert {event["id"] for event in seen if event["name"] == "progress"} == {None}


@pytest.mark.parametrize("platform", ["web", "cli", "discord", "telegram"])
async def test_jobs_of_every_platform_appear_within_a_second(shared_server, shared_client, platform):
    server, client = shared_server, shared_client
    person = await server.usecases.people.local_person()
    origin = Origin(platform=platform, space_id="here", account_id="1", chat_id="1")
    is_chat = platform in ("discord", "telegram")
    request = Request(origin=origin, command="imagine", options={"prompt": "a fox"}, wants_delivery=is_chat)
    async with follow(client) as events:
        await until(events, "ready")
        started = time.monotonic()
        [ticket] = await server.usecases.jobs.submit(person, request)
        await until(events, "state", ticket.job.id)
        waited_s = time.monotonic() - started

    assert waited_s < 1 + SLACK_S


async def test_a_stream_is_resumed_where_it_ended(server, client):
    async with follow(client) as events:
        await until(events, "ready")
        first = await make(client)
        last = (await until(events, "result", first["id"]))[-1]["id"]
    second = await make(client, imagine("fail"))
    third = await make(client)
    await client.delete(f"/api/v1/jobs/{first['id']}", params={"erase": "true"})
    headers = {"Last-Event-ID": last}
    async with follow(client, after=0, **headers) as events:
        missed = await until(events, "erased")
    async with follow(client, after=last) as events:
        again = await until(events, "erased")

    assert missed == again
    assert missed[0] == {"name": "ready", "id": last, "data": {"job": None, "resumed": True}}
    assert [(one["name"], one["data"]["job"]) for one in missed[1:]] == [
        ("error", second["id"]),
        ("result", third["id"]),
        ("erased", first["id"]),
    ]
    assert missed[1]["data"] == {**second["error"], "job": second["id"]}
    assert missed[-1]["data"] == {"job": first["id"]}


async def test_favourites_and_deleted_pictures_are_changes(server, client):
    job = await make(client, imagine("a fox", count=2))
    path = f"/api/v1/jobs/{job['id']}/pictures"
    async with follow(client) as events:
        await until(events, "ready")
        for _ in range(2):  # the second changes nothing
            await client.put(f"{path}/2/favourite")
        starred = (await until(events, "result"))[-1]["data"]
        await client.delete(f"{path}/1")
        left = (await until(events, "result"))[-1]["data"]

    assert [one["favourite"] for one in starred["result"]["media"]] == [False, True]
    assert [one and one["favourite"] for one in left["result"]["media"]] == [None, True]
    assert left == {**await job_of(client, job["id"]), "job": job["id"]}


async def test_nobody_sees_the_jobs_of_others(server):
    async with person_client(server, "ann") as ann, person_client(server, "ben") as ben, follow(ann) as events:
        await until(events, "ready")
        theirs = await make(ben)
        own = await make(ann)
        seen = await until(events, "result", own["id"])

    assert theirs["id"] not in {event["data"]["job"] for event in seen}


async def test_thousands_of_missed_changes_come_in_pages(server, client, monkeypatch):
    monkeypatch.setattr(person_events, "PAGE", 2)
    jobs = [(await make(client))["id"] for _ in range(5)]
    sizes = []
    list_changes = type(server.storage.changes).list_changes

    async def counted(self, owner, after, limit):
        found = await list_changes(self, owner, after, limit)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(type(server.storage.changes), "list_changes", counted)
    async with follow(client, after=0) as events:
        seen = await until(events, "result", jobs[-1])

    assert [event["data"]["job"] for event in seen[1:]] == jobs
    assert max(sizes) == 2


async def test_one_query_a_change_serves_all_streams_and_none_is_made_while_idle(server, client, monkeypatch):
    calls: Counter[str] = Counter()
    list_changes = type(server.storage.changes).list_changes

    async def counted(self, owner, after, limit):
        calls[owner] += 1
        return await list_changes(self, owner, after, limit)

    monkeypatch.setattr(type(server.storage.changes), "list_changes", counted)
    async with follow(client) as one, follow(client) as two, follow(client) as three:
        for events in (one, two, three):
            await until(events, "ready")
        await asyncio.sleep(0.1)
        idle = sum(calls.values())
        job = await make(client)
        for events in (one, two, three):
            await until(events, "result", job["id"])
        changes = (await job_versions(server, job["id"])) + 1

    assert idle == 0
    assert 1 <= sum(calls.values()) <= changes


async def job_versions(server, job_id):
    return (await server.storage.jobs.get_job(job_id, None)).version


async def test_a_slow_reader_gets_what_memory_has_lost(server, client, monkeypatch):
    monkeypatch.setattr(person_events, "MAX_RECENT", 2)
    person = await server.usecases.people.local_person()
    following = server.usecases.events.follow(person)
    first = await anext(following)
    jobs = [(await make(client))["id"] for _ in range(4)]
    seen = []
    async with asyncio.timeout(30):
        async for event in following:
            seen.append((event.kind, event.job_id))
            if event.kind == "result" and event.job_id == jobs[-1]:
                break
    await following.aclose()

    assert first.kind == "ready"
    assert [job_id for kind, job_id in seen if kind == "result"] == jobs


async def test_the_feed_goes_with_its_last_stream(server, client):
    async with follow(client) as one, follow(client) as two:
        await until(one, "ready")
        await until(two, "ready")
        job_id = (await ask(client, imagine("slow")))["id"]
        await until(one, "progress", job_id)
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while server.usecases.events.is_followed or server.is_followed(job_id):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert not server.usecases.events.is_followed
    assert not server.is_followed(job_id)


@pytest.mark.parametrize("number", ["999999999", "9" * 18])
async def test_a_number_from_another_database_starts_anew(shared_client, number):
    async with follow(shared_client, after=number) as events:
        [ready] = await until(events, "ready")

    assert ready["data"] == {"job": None, "resumed": False}


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "٣", "9" * 400])
async def test_a_number_that_is_none_is_refused(shared_client, number):
    problem(await shared_client.get("/api/v1/events", params={"after": number}), 422, "invalid_option")
    async with follow(shared_client, **{"Last-Event-ID": number.encode()}) as events:  # any program may send any
        assert (await until(events, "ready"))[-1]["data"]["resumed"] is False


async def test_the_stream_ends_with_its_key(easel):
    await easel.serve()
    key, text = await easel.usecases.people.create_key("ann", is_admin=False)
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {text}"
        async with follow(client) as events:
            await until(events, "ready")
            await easel.usecases.people.revoke_key(key.prefix)
            async with asyncio.timeout(30):
                assert [event async for event in events] == []
        assert (await client.get("/api/v1/events")).status_code == 401
