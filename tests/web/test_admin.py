"""Managing models over REST: admins only, with terms, progress, results and errors."""

import asyncio

import pytest

from bot.usecases.installations import Installation
from tests.model_manager_fixture import FOX

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def wait_until(client, path, is_done):
    """The body of the first response that `is_done`."""
    async with asyncio.timeout(30):
        while not is_done(body := (await client.get(f"/api/v1/{path}")).json()):  # noqa: ASYNC110 - asked as a page does
            await asyncio.sleep(0.01)
    return body


async def finished_install(client, name):
    return await wait_until(client, f"admin/models/{name}/installation", lambda body: body["is_over"])


async def submit_fox(client):
    wanted = {"command": "imagine", "options": {"prompt": "x", "model": "fox"}}
    return (await client.post("/api/v1/jobs", json=wanted)).json()


async def test_models_are_listed_with_whether_they_fit(shared_client):
    body = (await shared_client.get("/api/v1/admin/models")).json()

    rows = {row["name"]: row for row in body["models"]}
    fox = rows["fox"]
    assert (fox["enabled"], fox["fits"]["place"], fox["disk_bytes"]) == (False, "cpu", 100 * 2**20)
    assert body["additions"] == []
    assert fox["execution"] is None
    assert rows["paint"]["execution"]["sentence"].startswith("Runs on torch")
    assert rows["paint"]["execution"]["problem"] == ""


async def test_terms_are_shown_and_must_be_accepted(shared_client):
    terms = (await shared_client.get("/api/v1/admin/models/fox/terms")).json()
    refused = await shared_client.post("/api/v1/admin/models/fox/use", json={})

    assert (terms["licences"], terms["must_accept"], terms["commercial"]) == (["fox-1.0"], True, False)
    assert isinstance(terms["together"], list)
    assert (refused.status_code, refused.json()["code"]) == (409, "model_refused")
    assert "fox-1.0" in refused.json()["detail"]


async def test_a_model_is_installed_and_used_without_a_restart(client, easel):
    started = await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    assert (started.status_code, started.json()["is_over"]) == (202, False)

    end = await finished_install(client, "fox")

    assert end["error"] == ""
    assert end["trials"][0]["has_picture"]
    picture = await client.get("/api/v1/admin/models/fox/installation/picture")
    assert picture.headers["content-type"] == "image/png"
    models = (await client.get("/api/v1/models")).json()["models"]
    assert next(one for one in models if one["name"] == "fox")["default_for"] == ["text-to-image"]
    assert (await client.delete("/api/v1/admin/models/fox")).json()["freed_bytes"] > 0


async def test_jobs_for_a_model_being_installed_wait_and_show_its_progress(client, easel):
    hub = easel.usecases.model_manager.downloads
    hub.go_on.clear()
    await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    await wait_until(client, "admin/models/fox/installation", lambda body: body["install_progress"]["total"])
    job = await submit_fox(client)
    body = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
    quota = (await client.get("/api/v1/quota")).json()

    assert (body["state"], body["position"]) == ("queued", 1)
    progress = body["install_progress"]
    assert (progress["title"], progress["stage"], progress["done"]) == ("Fox XL", "downloading", 40 * 2**20)
    assert quota["used"] == 0
    hub.go_on.set()
    assert (await finished_install(client, "fox"))["error"] == ""
    body = await wait_until(client, f"jobs/{job['id']}", lambda body: body["state"] in ("delivered", "failed"))
    assert (body["state"], body["install_progress"]) == ("delivered", None)


async def test_a_cancelled_installation_refunds_the_waiting_jobs(client, easel):
    hub = easel.usecases.model_manager.downloads
    hub.go_on.clear()
    await client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True})
    job = await submit_fox(client)

    stopped = (await client.delete("/api/v1/admin/models/fox/installation")).json()

    assert stopped["error"].startswith("Cancelled.")
    body = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
    assert body["state"] == "failed"
    assert "weren't charged" in body["error"]["message"]
    assert (await client.get("/api/v1/quota")).json()["reserved"] == 0


async def test_only_admins_manage_models(client, easel):
    text = await easel.create_key("Ann")
    headers = {"Authorization": f"Bearer {text}"}

    answer = await client.get("/api/v1/admin/models", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get("/api/v1/me", headers=headers)).json() == {"name": "Ann", "admin": False}


@pytest.mark.parametrize(
    ("formats", "status", "words"),
    [
        ({"weights": "4bit"}, 409, "needs a denoiser in 4 bits"),
        ({"weights": "3bit"}, 422, "auto, none, 8bit, 4bit, fp8"),
        ({"precision": "int8"}, 422, "auto, float32, float16, bfloat16"),
    ],
)
async def test_number_formats_are_checked_with_the_terms_and_with_the_request(shared_client, formats, status, words):
    terms = await shared_client.get("/api/v1/admin/models/fox/terms", params=formats)
    used = await shared_client.post("/api/v1/admin/models/fox/use", json={"accept_licence": True, **formats})

    for answer in (terms, used):
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True)


async def test_a_model_is_used_in_the_formats_of_the_request(client):
    body = {"accept_licence": True, "weights": "fp8", "precision": "float16"}
    started = await client.post("/api/v1/admin/models/fox/use", json=body)
    end = await finished_install(client, "fox")
    rows = (await client.get("/api/v1/admin/models")).json()["models"]

    assert (started.json()["weights"], end["error"]) == ("fp8", "")
    fox = next(row for row in rows if row["name"] == "fox")
    assert (fox["weights"], fox["precision"]) == ("fp8", "float16")


@pytest.mark.parametrize("names", [("force", "download_only"), ("anyway", "only_fetch")])
async def test_old_field_names_are_still_accepted(client, easel, monkeypatch, names):
    values = {}

    async def use_model(self, name, **options):
        values.update(options)
        return Installation(spec=FOX, tasks=FOX.tasks, preset=FOX)

    monkeypatch.setattr(type(easel.usecases.model_manager), "use_model", use_model)
    body = {"accept_licence": True, names[0]: True, names[1]: True}

    assert (await client.post("/api/v1/admin/models/fox/use", json=body)).status_code == 202
    assert (values["force"], values["download_only"]) == (True, True)


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
async def test_bad_requests_are_explained(shared_client, method, path, body, status):
    answer = await shared_client.request(method, f"/api/v1/admin/models{path}", json=body)

    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


async def test_after_a_restart_an_installation_is_unknown_rather_than_its_model(shared_client):
    answer = await shared_client.get("/api/v1/admin/models/paint/installation")

    assert (answer.status_code, "since the server started" in answer.json()["detail"]) == (404, True)


async def test_idle_models_are_unloaded(shared_client):
    unloaded = await shared_client.post("/api/v1/models/unload")
    old_name = await shared_client.post("/api/v1/models/release")

    assert (unloaded.status_code, old_name.status_code) == (200, 200)
    body = unloaded.json()
    assert (body["busy"], body["freed_mb"]) == ([], 512)
    assert "paint" in body["models"]
