"""Who may use `/mcp`: keys, sessions, other websites, and what each may see."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from adapters.mcp.mcp_mount import MAX_COMMAS
from tests.backends_required import require_backend
from tests.web.conftest import SECRET, open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
LIST_TOOLS = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


async def post(client, body, **headers):
    return await client.post("/mcp", json=body, headers={**ACCEPT, **headers})


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


async def test_without_the_library_the_answer_names_the_extra(shared_server, monkeypatch):
    monkeypatch.setattr("adapters.mcp.mcp_mount.find_spec", lambda _name: None)

    async with open_client(shared_server) as client:
        answer = await post(client, INITIALIZE)

    assert answer.status_code == 404
    assert "[mcp]" in answer.json()["detail"]


async def test_what_is_below_the_path_is_not_found(shared_server):
    async with open_client(shared_server) as client:
        answer = await client.post("/mcp/sse", json=INITIALIZE, headers=ACCEPT)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 401),
        ({"X-Forwarded-For": "10.0.0.1"}, 401),
    ],
)
async def test_other_websites_and_proxies_do_not_reach_a_server_without_keys(shared_server, headers, status):
    async with open_client(shared_server) as client:
        assert (await post(client, INITIALIZE, **headers)).status_code == status


async def test_another_website_is_refused_even_with_a_key(server):
    key = await server.create_key("ada")

    async with open_client(server) as client:
        answer = await post(client, INITIALIZE, **bearer(key), Origin="https://evil.example")

    assert answer.status_code == 403


async def test_a_key_is_needed_once_there_is_one(server):
    key = await server.create_key("ada")

    async with open_client(server) as client:
        without = await post(client, INITIALIZE)
        wrong = await post(client, INITIALIZE, **bearer(f"{'0' * 8}.{'x' * 43}"))
        right = await post(client, INITIALIZE, **bearer(key))
        local = await post(client, INITIALIZE, **bearer(SECRET))

    assert [one.status_code for one in (without, wrong, right, local)] == [401, 401, 200, 200]
    assert "Bearer" in without.headers["WWW-Authenticate"]


async def test_the_pages_cookie_is_no_key(server):
    key = await server.create_key("ada")

    async with open_client(server) as client:
        await client.post("/api/v1/session", json={"key": key}, headers={"X-Easel": "1"})
        answer = await post(client, INITIALIZE, **{"X-Easel": "1"})

    assert client.cookies
    assert answer.status_code == 401


async def open_session(client, key):
    """The headers of a new session of the key."""
    require_backend("mcp")
    answer = await post(client, INITIALIZE, **bearer(key))
    headers = {**bearer(key), "Mcp-Session-Id": answer.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
    await post(client, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **headers)
    return headers


async def test_a_session_belongs_to_the_key_that_opened_it(server):
    ada, ben = await server.create_key("ada"), await server.create_key("ben")

    async with open_client(server) as client:
        session = await open_session(client, ada)
        own = await post(client, LIST_TOOLS, **session)
        stolen = await post(client, LIST_TOOLS, **{**session, **bearer(ben)})
        ended = await client.delete("/mcp", headers={**ACCEPT, **session, **bearer(ben)})

    assert own.status_code == 200
    assert (stolen.status_code, ended.status_code) == (404, 404)


async def test_a_new_session_ends_the_one_that_was_not_used_for_longest(server, monkeypatch):
    key = await server.create_key("ada")
    require_backend("mcp")
    monkeypatch.setattr("adapters.mcp.caller_sessions.MAX_SESSIONS", 2)

    async with open_client(server) as client:
        first, second = [await open_session(client, key) for _ in range(2)]
        await post(client, LIST_TOOLS, **first)
        third = await open_session(client, key)
        statuses = [(await post(client, LIST_TOOLS, **one)).status_code for one in (first, second, third)]

    assert statuses == [200, 404, 200]


async def test_sessions_that_are_opened_at_the_same_time_all_open(server, monkeypatch):
    key = await server.create_key("ada")
    require_backend("mcp")
    monkeypatch.setattr("adapters.mcp.caller_sessions.MAX_SESSIONS", 2)

    async with open_client(server) as client:
        answers = await asyncio.gather(*[post(client, INITIALIZE, **bearer(key)) for _ in range(8)])

    assert {answer.status_code for answer in answers} == {200}


async def test_sessions_with_open_streams_are_not_ended_for_a_new_one(server, monkeypatch):
    key = await server.create_key("ada")
    require_backend("mcp")
    monkeypatch.setattr("adapters.mcp.caller_sessions.MAX_SESSIONS", 1)

    async with open_client(server) as client:
        session = await open_session(client, key)
        async with client.stream("GET", "/mcp", headers={**ACCEPT, **session}):
            refused = await post(client, INITIALIZE, **bearer(key))
        await client.delete("/mcp", headers={**ACCEPT, **session})
        accepted = await post(client, INITIALIZE, **bearer(key))

    assert (refused.status_code, accepted.status_code) == (503, 200)


async def test_a_revoked_key_ends_its_sessions_and_streams(server):
    key = await server.create_key("ada")

    async with open_client(server) as client:
        session = await open_session(client, key)
        async with client.stream("GET", "/mcp", headers={**ACCEPT, **session}) as stream:
            assert stream.status_code == 200
            await server.usecases.people.revoke_key(key.partition(".")[0])
            async with asyncio.timeout(10):
                async for _ in stream.aiter_bytes():
                    pass
        answer = await post(client, LIST_TOOLS, **session)

    assert answer.status_code == 401


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_the_end_of_a_session_leaves_its_jobs_running(server, is_revoked):
    key = await server.create_key("ada")
    other = await server.usecases.people.create_key("ada", is_admin=False)
    imagine = {"name": "imagine", "arguments": {"prompt": "slow"}}
    async with open_client(server) as client:
        session = await open_session(client, key)
        body = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": imagine}
        calling = asyncio.create_task(post(client, body, **session))
        job = await wait_for_job(client, other[1])
        if is_revoked:
            await server.usecases.people.revoke_key(key.partition(".")[0])
        else:
            await client.delete("/mcp", headers={**ACCEPT, **session})
        await asyncio.wait([calling])
        server.pool.go_on.set()
        async with client.stream("GET", f"/api/v1/jobs/{job['id']}/events", headers=bearer(other[1])) as stream:
            events = [line async for line in stream.aiter_lines() if line.startswith("event")]

    assert events[-1] == "event: result"


async def wait_for_job(client, key):
    """A running one."""
    while True:
        jobs = (await client.get("/api/v1/jobs", headers=bearer(key))).json()["jobs"]
        if jobs and jobs[0]["state"] == "running":
            return jobs[0]
        await asyncio.sleep(0.02)


async def test_streams_end_when_the_server_stops(server):
    key = await server.create_key("ada")
    async with open_client(server) as client:
        session = await open_session(client, key)
        async with client.stream("GET", "/mcp", headers={**ACCEPT, **session}) as stream:
            stopping = asyncio.create_task(server.stop())
            async with asyncio.timeout(10):
                async for _ in stream.aiter_bytes():
                    pass
        await stopping


async def test_a_body_with_too_many_values_or_bytes_is_refused(shared_server, monkeypatch):
    monkeypatch.setattr("adapters.mcp.mcp_mount.IMAGES_PER_REQUEST", 0)

    async with open_client(shared_server) as client:
        many = await client.post("/mcp", content=b"[" * (MAX_COMMAS + 1), headers=ACCEPT)
        large = await client.post("/mcp", content=b"x" * 2**21, headers=ACCEPT)

    assert (many.status_code, large.status_code) == (413, 413)


@pytest.mark.parametrize(
    ("body", "request_id", "words"),
    [
        (b"{", None, "not valid JSON"),
        (b"[" * 5_000, None, "not valid JSON"),
        (b"[]", None, "Batches"),
        (b"7", None, "JSON object"),
        (b'{"jsonrpc": "1.0", "id": 3, "method": "ping"}', 3, "JSON object"),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None, "whole number"),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', None, "whole number"),
        (b'{"jsonrpc": "2.0", "id": "a", "method": 7}', "a", "method"),
        (b'{"jsonrpc": "2.0", "id": 4, "method": "ping", "params": []}', 4, "params"),
        (b'{"jsonrpc": "2.0", "id": 5, "method": "ping", "params": {"a": "\\ud800"}}', 5, "surrogate"),
    ],
)
async def test_what_is_no_message_is_refused_in_one_sentence(shared_server, body, request_id, words):
    require_backend("mcp")
    async with open_client(shared_server) as client:
        answer = await client.post("/mcp", content=body, headers={**ACCEPT, "Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["id"]) == (400, request_id)
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["message"].count("\n") == 0


async def test_a_key_that_is_revoked_while_its_first_request_begins_is_refused(server, monkeypatch):
    require_backend("mcp")
    from adapters.mcp import caller_sessions

    key, watch = await server.create_key("ada"), caller_sessions.watch_access

    monkeypatch.setattr(caller_sessions, "watch_access", partial(revoked, watch, server, key))
    async with open_client(server) as client:
        answer = await post(client, INITIALIZE, **bearer(key))

    assert answer.status_code == 401


@asynccontextmanager
async def revoked(watch, server, key, *arguments):
    await server.usecases.people.revoke_key(key.partition(".")[0])
    async with watch(*arguments) as ended:
        yield ended
