"""Choosing models over REST: for admins only, with terms, progress, the end, and what goes wrong."""

import asyncio

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def until(client, path, is_there):
    """The body, once it is as it should be."""
    async with asyncio.timeout(10):
        while not is_there(body := (await client.get(f"/api/v1/{path}")).json()):  # noqa: ASYNC110 - asked as a page does
            await asyncio.sleep(0.01)
    return body


async def ended(client, name):
    return await until(client, f"admin/models/{name}/installation", lambda body: body["is_over"])


async def asked_for_fox(client):
    wanted = {"command": "imagine", "options": {"prompt": "x", "model": "fox"}}
    return (await client.post("/api/v1/jobs", json=wanted)).json()


async def test_what_there_is_and_what_would_fit(client):
    body = (await client.get("/api/v1/admin/models")).json()

    rows = {row["name"]: row for row in body["models"]}
    fox = rows["fox"]
    assert (fox["enabled"], fox["fits"]["place"], fox["disk_bytes"]) == (False, "cpu", 100 * 2**20)
    assert body["additions"] == []


async def test_terms_are_shown_and_must_be_accepted(client):
    terms = (await client.get("/api/v1/admin/models/fox/terms")).json()
    refused = await client.post("/api/v1/admin/models/fox/use", json={})

    assert (terms["licences"], terms["must_accept"], terms["commercial"]) == (["fox-1.0"], True, False)
    assert (refused.status_code, refused.json()["code"]) == (409, "model_refused")
    assert "fox-1.0" in refused.json()["detail"]


async def test_a_model_comes_and_draws_without_a_restart(client, house):
    begun = await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    assert (begun.status_code, begun.json()["is_over"]) == (202, False)

    end = await ended(client, "fox")

    assert end["error"] == ""
    assert end["trials"][0]["has_picture"]
    picture = await client.get("/api/v1/admin/models/fox/installation/picture")
    assert picture.headers["content-type"] == "image/png"
    models = (await client.get("/api/v1/models")).json()["models"]
    assert next(one for one in models if one["name"] == "fox")["default_for"] == ["text-to-image"]
    assert (await client.delete("/api/v1/admin/models/fox")).json()["freed_bytes"] > 0


async def test_jobs_for_a_model_on_its_way_wait_and_say_how_far_it_is(client, house):
    hub = house.usecases.choosing.downloads
    hub.go_on.clear()
    await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    await until(client, "admin/models/fox/installation", lambda body: body["arrival"]["total"])
    job = await asked_for_fox(client)
    body = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
    quota = (await client.get("/api/v1/quota")).json()

    assert (body["state"], body["position"]) == ("queued", 1)
    arrival = body["arrival"]
    assert (arrival["title"], arrival["stage"], arrival["done"]) == ("Fox XL", "downloading", 40 * 2**20)
    assert quota["used"] == 0
    hub.go_on.set()
    assert (await ended(client, "fox"))["error"] == ""
    body = await until(client, f"jobs/{job['id']}", lambda body: body["state"] in ("delivered", "failed"))
    assert (body["state"], body["arrival"]) == ("delivered", None)


async def test_a_model_that_does_not_come_refunds_those_who_waited(client, house):
    hub = house.usecases.choosing.downloads
    hub.go_on.clear()
    await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    job = await asked_for_fox(client)

    stopped = (await client.delete("/api/v1/admin/models/fox/installation")).json()

    assert stopped["error"].startswith("It was stopped.")
    body = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
    assert body["state"] == "failed"
    assert "weren't charged" in body["error"]["message"]
    assert (await client.get("/api/v1/quota")).json()["reserved"] == 0


async def test_only_admins_may(client, house):
    text = await house.create_key("Ann")
    headers = {"Authorization": f"Bearer {text}"}

    answer = await client.get("/api/v1/admin/models", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get("/api/v1/me", headers=headers)).json() == {"name": "Ann", "admin": False}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing/terms", None, 409),
        ("GET", "/paint/installation", None, 404),
        ("POST", "", {"source": "no model at all"}, 409),
        ("POST", "/fox/use", {"surprise": 1}, 422),
        ("DELETE", "/paint", None, 409),
    ],
)
async def test_bad_requests_are_told(client, method, path, body, status):
    answer = await client.request(method, f"/api/v1/admin/models{path}", json=body)

    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


async def test_the_memory_of_idle_models_is_given_back(client):
    released = await client.post("/api/v1/models/release")

    assert released.status_code == 200
    body = released.json()
    assert (body["busy"], body["freed_mb"]) == ([], 512)
    assert "paint" in body["models"]
