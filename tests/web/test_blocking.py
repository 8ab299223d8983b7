"""Admins block a person over REST, and look up what was refused before it was accepted."""

import json

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.web.api_client import imagine, problem, upload, wait_for
from tests.web.conftest import open_client, open_easel
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN, JOBS = "/api/v1/admin", "/api/v1/jobs"
SECRET = "a heron nobody knows"


@pytest_asyncio.fixture(loop_scope="module")
async def easel(tmp_path):
    async with open_easel(tmp_path, blocked_words=("broccoli",)) as opened:
        await opened.serve()
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def olga(easel):
    """An admin, who is not the local person."""
    _, key = await easel.usecases.people.create_key("Olga", is_admin=True)
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def ann(easel):
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {await easel.create_key('Ann')}"
        yield client


async def find(olga, name):
    [row] = (await olga.get(f"{ADMIN}/people?q={name}")).json()["people"]
    return row


async def submit(client, body=None):
    answer = await client.post(JOBS, json=body or imagine("slow"))
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def test_a_blocked_person_gets_one_sentence_and_keeps_what_they_have(easel, olga, ann):
    image = (await upload(ann, picture(3, 48, 32)))["id"]
    running, waiting = await submit(ann), await submit(ann)
    await wait_for(ann, running, "running")
    row = await find(olga, "Ann")
    with capture_logs() as logged:
        answer = await olga.put(f"{ADMIN}/people/{row['id']}/block")
        again = await olga.put(f"{ADMIN}/people/{row['id']}/block")
    ended = [await wait_for(ann, one, "cancelled") for one in (running, waiting)]

    assert answer.json() == {
        "id": row["id"], "name": "Ann", "blocked": True, "cancelled": [running, waiting],
    }  # fmt: skip
    assert again.json()["blocked"] is True
    assert {one["action"] for one in logged if one["action"].startswith("person_")} == {"person_blocked"}
    assert (row["blocked"], (await find(olga, "Ann"))["blocked"]) == (False, True)
    assert [one["state"] for one in ended] == ["cancelled"] * 2
    refused = [
        await ann.post(JOBS, json=imagine()),
        await ann.post("/api/v1/quotes", json=imagine()),
        await ann.post("/api/v1/media", files={"file": ("a.png", picture(4, 48, 32), "image/png")}),
    ]
    sentences = {problem(one, 403, "blocked")["detail"] for one in refused}
    assert len(sentences) == 1
    assert "An admin has blocked you here" in sentences.pop()
    assert (await ann.get("/api/v1/quota")).json()["used"] == 0
    kept = [
        await ann.get(JOBS), await ann.get(f"/api/v1/media/{image}"), await ann.post("/api/v1/export", json={}),
        await ann.delete(f"{JOBS}/{waiting}?erase=true"),
    ]  # fmt: skip
    assert [one.status_code for one in kept] == [200, 200, 200, 204]
    freed = await olga.delete(f"{ADMIN}/people/{row['id']}/block")
    assert (freed.json()["blocked"], freed.json()["cancelled"]) == (False, [])
    await submit(ann, imagine())


async def test_neither_the_owner_nor_an_admin_themselves_is_blocked_and_a_blocked_admin_is_none(easel, olga):
    local = await easel.usecases.people.local_person()
    own = await find(olga, "Olga")
    for person_id in (local.id, own["id"]):
        body = problem(await olga.put(f"{ADMIN}/people/{person_id}/block"), 422, "invalid_option")
        assert "cannot be blocked" in body["detail"]
    problem(await olga.put(f"{ADMIN}/people/nobody/block"), 404, "not_found")
    await easel.usecases.admin.set_blocked(local, "local", own["id"], is_blocked=True)

    problem(await olga.get(f"{ADMIN}/people"), 403, "forbidden")
    problem(await olga.delete(f"{ADMIN}/people/{own['id']}/block"), 403, "forbidden")
    assert (await olga.get("/api/v1/me")).json() == {"name": "Olga", "admin": False}


async def test_only_admins_block(ann):
    for method in ("PUT", "DELETE"):
        problem(await ann.request(method, f"{ADMIN}/people/somebody/block"), 403, "forbidden")


async def test_what_was_refused_before_it_was_accepted_is_listed_without_its_words(olga, ann):
    problem(await ann.post(JOBS, json=imagine(f"{SECRET}, br0cc0li")), 403, "blocked")
    ran = await wait_for(ann, await submit(ann, imagine(f"nude {SECRET}")), "failed")
    problem(await ann.post("/api/v1/quotes", json=imagine("broccoli")), 403, "blocked")  # asks for nothing to be made
    body = (await olga.get(f"{ADMIN}/blocked")).json()
    first = (await olga.get(f"{ADMIN}/blocked?limit=1")).json()
    second = (await olga.get(f"{ADMIN}/blocked?limit=1&before={first['next']}")).json()

    assert [(one["id"], one["reason"]) for one in body["blocked"]] == [(ran["id"], None), (None, "words")]
    refused = body["blocked"][1]
    assert (refused["person"]["name"], refused["platform"], refused["command"]) == ("Ann", "web", "imagine")
    assert refused["code"] == "blocked"
    assert "blocked words" in refused["message"]
    assert refused["created_at"] is not None
    assert SECRET not in json.dumps(body)
    assert first["blocked"] + second["blocked"] == body["blocked"]
    assert (body["total"], second["next"]) == (2, None)
