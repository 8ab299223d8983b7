"""Single pictures of a job over REST: favourites, deleting one of several; filters of the history; batches."""

import pytest

from tests.web.api_client import make, problem
from tests.web.conftest import open_client
from tests.web.test_uploads import as_person

pytestmark = pytest.mark.asyncio(loop_scope="module")


def imagine(**options):
    return {"command": "imagine", "options": {"prompt": "a fox", "seed": 7, **options}}


@pytest.fixture
def client(shared_client):
    return shared_client


async def pictures_of(client, job):
    return (await client.get(f"/api/v1/jobs/{job['id']}")).json()["result"]["media"]


async def test_a_favourite_is_found_by_the_filter_and_counted(client):
    job = await make(client, imagine(count=2))
    path = f"/api/v1/jobs/{job['id']}/pictures/2/favourite"
    answers = [(await client.put(path)).status_code for _ in range(2)]
    listed = (await client.get("/api/v1/jobs", params={"favourite": "true"})).json()
    answers += [(await client.delete(path)).status_code for _ in range(2)]
    after = (await client.get("/api/v1/jobs", params={"favourite": "true"})).json()

    assert answers == [204] * 4
    assert ([one["id"] for one in listed["jobs"]], listed["total"], listed["next"]) == ([job["id"]], 1, None)
    assert (after["jobs"], after["total"]) == ([], 0)


async def test_filters_and_the_total_are_of_all_pages(client):
    for _ in range(2):
        await make(client, imagine())
    page = (await client.get("/api/v1/jobs", params={"command": "imagine", "model": "paint", "limit": 1})).json()
    none = (await client.get("/api/v1/jobs", params={"command": "caption", "model": "paint"})).json()

    assert len(page["jobs"]) == 1
    assert page["total"] >= 2
    assert page["next"]
    assert none == {"jobs": [], "next": None, "total": 0}
    problem(await client.get("/api/v1/jobs", params={"favourite": "maybe"}), 422, "invalid_option")


async def test_a_deleted_picture_keeps_its_place_and_the_job_goes_with_the_last(client):
    job = await make(client, imagine(count=3, seed=70))
    first, second, third = await pictures_of(client, job)
    path = f"/api/v1/jobs/{job['id']}/pictures"
    await client.put(f"{path}/2/favourite")
    deleted = [(await client.delete(f"{path}/2")).status_code for _ in range(2)]
    left = await pictures_of(client, job)
    problem(await client.get(second["url"]), 404, "not_found")
    problem(await client.put(f"{path}/2/favourite"), 404, "not_found")
    favourites = (await client.get("/api/v1/jobs", params={"favourite": "true"})).json()["total"]
    await client.delete(f"{path}/1")
    await client.delete(f"{path}/3")

    assert deleted == [204, 204]
    assert left == [first, None, third]
    assert [first["seed"], third["seed"]] == [70, 72]
    assert favourites == 0
    problem(await client.get(f"/api/v1/jobs/{job['id']}"), 404, "not_found")
    problem(await client.get(first["url"]), 404, "not_found")


async def test_jobs_and_single_pictures_are_erased_together_and_only_ones_own(easel):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    await easel.serve()
    async with open_client(easel) as client:
        as_person(client, ben)
        theirs = await make(client, imagine(count=2))
        as_person(client, ann)
        whole, part = [await make(client, imagine(count=2)) for _ in range(2)]
        body = {"jobs": [whole["id"], theirs["id"]], "pictures": [{"job": one["id"], "n": 1} for one in (part, theirs)]}

        answers = [(await client.post("/api/v1/erase", json=body)).status_code for _ in range(2)]

        assert answers == [204, 204]
        assert (await client.get(f"/api/v1/jobs/{whole['id']}")).status_code == 404
        assert [one is None for one in await pictures_of(client, part)] == [True, False]
        problem(await client.post("/api/v1/erase", json={"jobs": [whole["id"]] * 1001}), 422, "invalid_option")
        as_person(client, ben)
        assert all(await pictures_of(client, theirs))


async def test_a_number_that_no_picture_has_is_not_found(client):
    job = await make(client, imagine())

    for number in ("0", "4", "-1", "99999999999999999999", "%00"):
        for method, path in (("PUT", "/favourite"), ("DELETE", "/favourite"), ("DELETE", "")):
            answer = await client.request(method, f"/api/v1/jobs/{job['id']}/pictures/{number}{path}")
            problem(answer, 404, "not_found")
    assert (await pictures_of(client, job))[0]


async def test_a_batch_is_read_and_cancelled_as_one(client):
    body = imagine(prompt="a {red|blue} fox")
    quote = (await client.post("/api/v1/quotes", json=body)).json()["quote"]
    made = (await client.post("/api/v1/jobs", json={**body, "quote": quote})).json()
    cancelled = await client.delete(f"/api/v1/batches/{made['batch']}")
    batch = (await client.get(f"/api/v1/batches/{made['batch']}")).json()

    assert cancelled.status_code in (202, 409)
    assert [one["id"] for one in batch["jobs"]] == [one["id"] for one in made["jobs"]]
    assert (batch["batch"], batch["sheet"]) == (made["batch"], None)
    problem(await client.get("/api/v1/batches/nothing"), 404, "not_found")


async def test_nobody_reaches_somebody_elses_pictures_or_batches(easel):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    await easel.serve()
    async with open_client(easel) as client:
        as_person(client, ann)
        job = await make(client, imagine(count=2))
        body = imagine(prompt="a {red|blue} fox")
        quote = (await client.post("/api/v1/quotes", json=body)).json()["quote"]
        batch = (await client.post("/api/v1/jobs", json={**body, "quote": quote})).json()["batch"]
        as_person(client, ben)
        path = f"/api/v1/jobs/{job['id']}/pictures/1"
        refused = [await client.request(*one) for one in (("PUT", f"{path}/favourite"), ("DELETE", path))]
        refused += [await client.request(method, f"/api/v1/batches/{batch}") for method in ("GET", "DELETE")]
        listed = (await client.get("/api/v1/jobs")).json()
        as_person(client, ann)
        left = await pictures_of(client, job)

    for answer in refused:
        problem(answer, 404, "not_found")
    assert listed["total"] == 0
    assert all(left)
