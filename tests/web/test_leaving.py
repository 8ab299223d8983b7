"""Signing out everywhere, and being forgotten, over REST."""

import asyncio

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from adapters.web.session_cookie import COOKIE
from bot.jobs import Origin
from tests.fakes import eventually
from tests.web.api_client import imagine, problem, wait_for
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION, ME, JOBS = "/api/v1/session", "/api/v1/me", "/api/v1/jobs"


@pytest_asyncio.fixture(loop_scope="module")
async def keys(server):
    """Two of Ann's, and Ben's."""
    return [await server.create_key(name) for name in ("Ann", "Ann", "Ben")]


async def sign_in(client, key):
    """The headers of a new session, which may write."""
    answer = await client.post(SESSION, json={"key": key})
    token = answer.cookies[COOKIE]
    client.cookies.clear()
    return {"Cookie": f"{COOKIE}={token}", "X-Easel": "1"}


async def follow(client, headers, opened):
    async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
        opened.append(stream.status_code)
        return [line async for line in stream.aiter_lines()]


async def test_signing_out_everywhere_ends_all_sessions_of_the_person_and_their_streams(server, keys):
    async with open_client(server) as client:
        first, second, other, bens = [await sign_in(client, key) for key in (keys[0], keys[0], keys[1], keys[2])]
        opened: list[int] = []
        streams = [asyncio.create_task(follow(client, one, opened)) for one in (second, other)]
        await eventually(lambda: opened == [200, 200])
        with capture_logs() as logged:
            bare = await client.delete(f"{SESSION}?everywhere=true", headers={"Cookie": first["Cookie"]})
            answer = await client.delete(f"{SESSION}?everywhere=true", headers=first)
        await asyncio.wait_for(asyncio.gather(*streams), 5)
        left = [(await client.get(ME, headers=one)).status_code for one in (first, second, other, bens)]
        by_key = await client.get(ME, headers={"Authorization": f"Bearer {keys[0]}"})
        wrong = await client.delete(f"{SESSION}?everywhere=yes", headers=bens)

    problem(bare, 403, "blocked")
    assert answer.status_code == 204
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert left == [401, 401, 401, 200]
    assert by_key.status_code == 200  # keys stay valid
    problem(wrong, 422, "invalid_option")
    [line] = [one for one in logged if one["action"] == "sessions_ended"]
    assert line["sessions"] == 3


async def test_forgetting_has_to_be_confirmed_and_deletes_everything_of_all_accounts(server, keys):
    usecases = server.usecases
    async with open_client(server) as client:
        own, bens = await sign_in(client, keys[0]), await sign_in(client, keys[2])
        ann, _ = await usecases.people.authenticate(keys[0])
        done = (await client.post(JOBS, json=imagine(), headers=own)).json()["id"]
        client.headers.update(own)
        await wait_for(client, done, "delivered")
        slow = (await client.post(JOBS, json=imagine("slow"))).json()["id"]
        await wait_for(client, slow, "running")
        for body in ({}, {"linked": True}, {"confirm": False}):
            refused = problem(await client.request("DELETE", ME, json=body), 422, "invalid_option")
            assert refused["option"] == "confirm"
        problem(await client.request("DELETE", ME, json={"confirm": True}, headers={"X-Easel": "0"}), 403, "blocked")
        assert (await client.get(JOBS)).json()["total"] == 2

        with capture_logs() as logged:
            forgotten = await client.request("DELETE", ME, json={"confirm": True})

        assert forgotten.status_code == 204
        assert f'{COOKIE}=""' in forgotten.headers["set-cookie"]
        assert {one["person"] for one in logged if one["action"] == "person_forgotten"} == {ann.id}
        for key in keys[:2]:
            problem(await client.get(ME, headers={"Authorization": f"Bearer {key}"}), 401, "unauthorized")
        problem(await client.get(ME), 401, "unauthorized")
        assert (await client.get(ME, headers=bens)).json()["name"] == "Ben"
    assert list((server.data_dir / "media").rglob("*.png")) == []
    assert await usecases.operations.check_database() == []


async def test_linked_accounts_are_forgotten_only_if_the_request_says_so(server, keys):
    usecases = server.usecases
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {keys[2]}"
        chat = await usecases.people.identify_account("discord", "1", "Ben")
        ben, _ = await usecases.people.authenticate(keys[2])
        await usecases.links.link(ben, f"web:{keys[2]}", (await usecases.links.create_code(chat)).text)
        refused = problem(await client.request("DELETE", ME, json={"confirm": True}), 409, "link_refused")
        done = await client.request("DELETE", ME, json={"confirm": True, "linked": True})

    assert refused["problem"] == "several_accounts"
    assert done.status_code == 204
    assert (await usecases.people.identify_account("discord", "1", "Ben")).id not in (ben.id, chat.id)


async def test_the_local_person_is_forgotten_and_still_the_owner(client, server):
    first = await server.usecases.people.local_person()
    await client.post(JOBS, json=imagine())
    answer = await client.request("DELETE", ME, json={"confirm": True})
    second = await server.usecases.people.local_person()

    assert answer.status_code == 204
    assert (await client.get(ME)).json() == {"name": "local", "admin": True}
    assert first.id != second.id
    origins = [Origin(platform="web", space_id="web", account_id=one.id) for one in (first, second)]
    assert [await server.usecases.moderation._is_local_person(one) for one in origins] == [False, True]
