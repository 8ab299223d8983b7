"""Collections, erasing and filters over REST."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.jobs import Origin
from bot.usecases import Request
from tests.web.api_client import ask, imagine, job_of, make, problem, wait_for
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

JOB = "a" * 16
"""The id of no job."""


@pytest.fixture
def client(shared_client):
    return shared_client


async def create(client, name):
    answer = await client.post("/api/v1/collections", json={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def ids(client, **params):
    page = (await client.get("/api/v1/jobs", params={"limit": 100, **params})).json()
    assert page["total"] == len(page["jobs"])
    return [job["id"] for job in page["jobs"]]


async def test_a_collection_from_its_name_to_its_end(client):
    job = await make(client, imagine(count=2))
    made = await create(client, "  The best\u202e ones ")
    path = f"/api/v1/collections/{made['id']}"
    picture = f"{path}/pictures/{job['id']}/2"
    put = [(await client.put(picture)).status_code for _ in range(2)]
    listed = (await client.get("/api/v1/collections")).json()
    found = await ids(client, collection=made["id"])
    media = (await job_of(client, job["id"]))["result"]["media"]
    renamed = (await client.put(path, json={"name": "Better"})).json()
    taken = [(await client.delete(picture)).status_code for _ in range(2)]
    empty = await ids(client, collection=made["id"])
    ended = (await client.delete(path)).status_code

    assert (made["name"], made["count"], made["cover"]) == ("The best ones", 0, None)
    assert put == taken == [204, 204]
    assert listed == {"collections": [{**made, "count": 1, "cover": media[1]["id"]}], "total": 1}
    assert [one["collections"] for one in media] == [[], [made["id"]]]
    assert renamed == {**made, "name": "Better", "count": 1, "cover": media[1]["id"]}
    assert (found, empty) == ([job["id"]], [])
    assert ended == 204
    problem(await client.delete(path), 404, "not_found")
    assert (await job_of(client, job["id"]))["result"]["media"][1]["collections"] == []


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": " \u200b "}, {"name": "a" * 81}, {"name": 7}, {}, {"name": "\0"}]
)
async def test_a_name_is_1_to_80_characters(client, body):
    problem(await client.post("/api/v1/collections", json=body), 422, "invalid_option")


async def test_two_collections_cannot_have_one_name(client):
    await create(client, "Foxes")
    told = problem(await client.post("/api/v1/collections", json={"name": "FOXES"}), 422, "invalid_option")

    assert told["detail"] == "You already have a collection called “FOXES”. Choose another name."


@pytest.mark.parametrize("text", ["a", "a" * 16, "A" * 16, "..", "%00", "\u00e9"])
async def test_a_dead_link_is_not_found(client, text):
    path = f"/api/v1/collections/{text}"
    for call in (
        client.put(path, json={"name": "x"}),
        client.delete(path),
        client.put(f"{path}/pictures/{JOB}/1"),
        client.delete(f"{path}/pictures/{JOB}/1"),
    ):
        assert (await call).status_code in (404, 405)
    assert await ids(client, collection=text) == []


async def test_a_picture_that_is_none_is_not_collected(client):
    made = await create(client, "none")
    job = await make(client)
    path = f"/api/v1/collections/{made['id']}/pictures"
    pictures = [f"{job['id']}/{n}" for n in ("0", "2", "-1", "x", "9999")] + [f"{JOB}/1", "x/1"]

    assert [(await client.put(f"{path}/{one}")).status_code for one in pictures] == [404] * len(pictures)


async def test_nothing_of_others_can_be_named(server):
    async with open_client(server) as ann, open_client(server) as ben:
        ann.headers["Authorization"] = f"Bearer {await server.create_key('ann')}"
        ben.headers["Authorization"] = f"Bearer {await server.create_key('ben')}"
        job, theirs = await make(ann), await make(ben)
        made = await create(ann, "Best")
        path = f"/api/v1/collections/{made['id']}"
        await ann.put(f"{path}/pictures/{job['id']}/1")
        refused = [
            await ben.put(path, json={"name": "mine"}),
            await ben.delete(path),
            await ben.put(f"{path}/pictures/{theirs['id']}/1"),
            await ben.delete(f"{path}/pictures/{job['id']}/1"),
            await ann.put(f"{path}/pictures/{theirs['id']}/1"),
            await ben.delete(f"/api/v1/jobs/{job['id']}", params={"erase": "true"}),
            await ben.delete(f"/api/v1/jobs/{job['id']}/pictures/1"),
            await ben.put(f"/api/v1/jobs/{job['id']}/pictures/1/favourite"),
        ]
        seen = await ids(ben, collection=made["id"])
        kept = await job_of(ann, job["id"])

    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert seen == []
    assert kept["result"]["media"][0]["collections"] == [made["id"]]


# ---------------------------------------------------------------- erasing


@pytest.mark.parametrize("state", ["queued", "running", "delivered"])
async def test_erasing_takes_words_and_pictures_whatever_the_state(server, state):
    async with open_client(server) as client:
        first = (await ask(client, imagine("slow")))["id"] if state == "queued" else None
        body = imagine("slow" if state == "running" else "a fox")
        job_id = (await ask(client, body))["id"]
        job = await wait_for(client, job_id, state)
        statuses = [
            (await client.delete(f"/api/v1/jobs/{job_id}", params={"erase": "true"})).status_code for _ in range(2)
        ]
        server.pool.go_on.set()
        if first:
            await wait_for(client, first)

        assert statuses == [204, 204]
        problem(await client.get(f"/api/v1/jobs/{job_id}"), 404, "not_found")
        problem(await client.delete(f"/api/v1/jobs/{job_id}"), 404, "not_found")
        for image in job["result"]["media"] if job["result"] else ():
            problem(await client.get(image["url"]), 404, "not_found")
        assert job_id not in await ids(client)
        assert await server.storage.maintenance.check() == []


async def test_deleting_the_last_picture_may_be_repeated(client):
    job = await make(client, imagine(count=2))
    path = f"/api/v1/jobs/{job['id']}/pictures"

    assert [(await client.delete(f"{path}/{n}")).status_code for n in (1, 1, 2, 2, 1)] == [204] * 5
    problem(await client.get(f"/api/v1/jobs/{job['id']}"), 404, "not_found")


async def test_the_messages_of_a_chats_job_are_retracted(server):
    person = await server.usecases.people.local_person()
    origin = Origin(platform="discord", space_id="here", account_id="1", chat_id="7")
    request = Request(origin=origin, command="imagine", options={"prompt": "a fox"}, wants_delivery=True)
    [ticket] = await server.usecases.jobs.submit(person, request)
    [placeholder] = await server.storage.outbox.due_deliveries()
    await server.storage.outbox.mark_sent(placeholder, "7:1")
    async with open_client(server) as client:
        answer = await client.delete(f"/api/v1/jobs/{ticket.job.id}", params={"erase": "true"})
    [due] = await server.storage.outbox.due_deliveries()

    assert answer.status_code == 204
    assert (due.kind, due.platform, due.refs) == ("retract", "discord", ("7:1",))


@pytest.mark.parametrize("value", ["1", "yes", "True"])
async def test_erase_is_true_or_false(client, value):
    job = await make(client)
    problem(await client.delete(f"/api/v1/jobs/{job['id']}", params={"erase": value}), 422, "invalid_option")

    assert (await job_of(client, job["id"]))["id"] == job["id"]


# ---------------------------------------------------------------- filters


async def test_every_filter_narrows_the_list_and_its_total(server):
    async with open_client(server) as client:
        painted, failed = await make(client, imagine("a red fox")), await make(client, imagine("fail"))
        await client.put(f"/api/v1/jobs/{painted['id']}/pictures/1/favourite")
        now = datetime.now(UTC)
        hour_ago, soon = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
        both = [failed["id"], painted["id"]]
        cases = [
            ({"state": "failed"}, [failed["id"]]),
            ({"state": "delivered", "favourite": "true"}, [painted["id"]]),
            ({"q": "red", "command": "imagine", "model": "paint"}, [painted["id"]]),
            ({"q": "red", "state": "failed"}, []),
            ({"since": hour_ago, "until": soon}, both),
            ({"since": soon}, []),
            ({"until": hour_ago}, []),
            ({"since": painted["created_at"], "until": failed["created_at"]}, [painted["id"]]),
            ({"since": "2020-01-01"}, both),
            ({"since": hour_ago[:19] + " 00:00"}, both),
        ]

        for params, expected in cases:
            assert await ids(client, **params) == expected, params


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("text", ["x", "2026-13-01", "0001-01-01T00:00:00+23:59", "9" * 400, "\u0660", "\0"])
async def test_a_time_that_is_none_is_refused(client, name, text):
    problem(await client.get("/api/v1/jobs", params={name: text}), 422, "invalid_option")


async def test_jobs_are_found_by_their_image_their_parent_and_whether_they_have_a_result(client):
    first = await make(client, imagine())
    image = first["result"]["media"][0]["id"]
    asked = await make(client, {"command": "ask", "options": {"question": "what?"}, "images": [image]})
    child = await make(client, imagine("a blue fox") | {"parent": first["id"]})
    failed = await wait_for(client, (await ask(client, imagine("fail")))["id"])

    assert await ids(client, image=image) == [asked["id"]]
    assert await ids(client, parent=first["id"]) == [child["id"]]
    assert await ids(client, image="0" * 64) == await ids(client, parent="a" * 16) == []
    assert failed["id"] in await ids(client)
    assert failed["id"] not in await ids(client, results="true")
    assert {first["id"], asked["id"], child["id"]} <= set(await ids(client, results="true"))
    problem(await client.get("/api/v1/jobs?results=maybe"), 422, "invalid_option")
