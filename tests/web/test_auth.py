"""Who may call: keys, the local secret, and what a foreign web page can make a browser send."""

import pytest

from tests.web.api_client import ask, imagine, problem
from tests.web.conftest import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTA = "/api/v1/quota"


async def test_without_keys_the_caller_is_the_local_person(server, client):
    job = await ask(client)

    local = await server.usecases.people.local()
    assert (await server.storage.jobs.get(job["id"], None)).owner == local.id


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1:8000"])
async def test_any_loopback_name_will_do(client, host):
    assert (await client.get(QUOTA, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "", "0.0.0.0", "127.0.0.1:x"]
)
async def test_a_foreign_host_is_refused(client, host):
    answer = await client.get(QUOTA, headers={"Host": host})

    assert "loopback" in problem(answer, 401, "unauthorized")["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "https://{host}", "http://localhost:1", "file://", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_foreign_origin_is_refused(server, client, method, origin):
    host = server.url.removeprefix("http://")
    path = "/api/v1/jobs" if method == "POST" else "/api/v1/jobs/aaaaaaaaaaaaaaaa"

    answer = await client.request(method, path, json=imagine(), headers={"Origin": origin.format(host=host)})

    assert "web site" in problem(answer, 401, "unauthorized")["detail"]


async def test_the_pages_own_origin_may(server, client):
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}

    assert (await ask(client, imagine(), **own))["state"] == "queued"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_a_browser_says_comes_from_another_site_is_refused(client, site):
    problem(await client.get(QUOTA, headers={"Sec-Fetch-Site": site}), 401, "unauthorized")


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"]
)
async def test_what_a_proxy_passes_on_needs_a_key(client, header):
    answer = await client.get(QUOTA, headers={header: "1.2.3.4"})

    assert "proxy" in problem(answer, 401, "unauthorized")["detail"]


async def test_a_key_opens_whatever_the_host_and_the_proxy(server, client):
    key = await server.create_key("Ada")

    answer = await client.get(
        QUOTA, headers={"Authorization": f"Bearer {key}", "Host": "easel.example", "X-Forwarded-For": "1.2.3.4"}
    )

    assert answer.json()["limit"] == 5.0


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer x", "Bearer a.b", "Basic eDp5", "Bearer {prefix}.wrong", "Bearer .", "\u00e9"],
)
async def test_a_wrong_key_is_refused(server, client, header):
    prefix = (await server.create_key("Ada")).partition(".")[0]

    answer = await client.get(QUOTA, headers={"Authorization": header.format(prefix=prefix).encode("latin-1")})

    problem(answer, 401, "unauthorized")


async def test_a_wrong_key_is_refused_even_while_none_exists(client):
    problem(await client.get(QUOTA, headers={"Authorization": "Bearer x.y"}), 401, "unauthorized")


async def test_the_first_key_locks_the_door_at_once_and_revoking_the_last_opens_it(server, client):
    before = await client.get(QUOTA)
    key = await server.create_key()
    locked = await client.get(QUOTA)
    opened = await client.get(QUOTA, headers={"Authorization": f"Bearer {key}"})
    await server.storage.people.revoke_key(key.partition(".")[0])
    revoked = await client.get(QUOTA, headers={"Authorization": f"Bearer {key}"})
    after = await client.get(QUOTA)

    assert [answer.status_code for answer in (before, locked, opened, revoked, after)] == [200, 401, 200, 401, 200]


async def test_the_local_secret_is_the_local_person_always(server, client):
    await server.create_key("Ada")

    job = await ask(client, imagine(), Authorization=f"Bearer {SECRET}")

    local = await server.usecases.people.local()
    assert (await server.storage.jobs.get(job["id"], None)).owner == local.id


async def test_every_call_of_the_api_asks_who_calls(server, client):
    api = (await client.get("/openapi.json")).json()
    await server.create_key("Ada")

    for path, methods in api["paths"].items():
        for method in methods:
            address = path.replace("{job_id}", "aaaaaaaaaaaaaaaa").replace("{media_id}", "0" * 64)
            problem(await client.request(method, address), 401, "unauthorized")


async def test_a_stranger_is_refused_before_a_body_is_read(server, client):
    await server.create_key("Ada")

    answer = await client.post("/api/v1/media", files={"file": bytes(50 * 2**20)})

    problem(answer, 401, "unauthorized")


async def test_no_answer_invites_other_origins(server, client):
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    answers = [await client.options("/api/v1/jobs", headers=preflight), await client.get("/", headers=preflight)]

    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


# ---------------------------------------------------------------- /internal


INTERNAL = {"Authorization": f"Bearer {SECRET}"}


async def test_the_command_line_makes_lists_and_revokes_keys(server, client):
    made = (await client.post("/internal/keys", json={"person": "Ada", "admin": True}, headers=INTERNAL)).json()
    person, key = await server.usecases.people.authenticate(made["key"])
    listed = (await client.get("/internal/keys", headers=INTERNAL)).json()["keys"]
    revoked = (await client.delete(f"/internal/keys/{made['prefix']}", headers=INTERNAL)).json()
    again = await client.delete("/internal/keys/none", headers=INTERNAL)

    assert (person.name, key.is_admin, key.prefix) == ("Ada", True, made["prefix"])
    assert [entry["prefix"] for entry in listed] == [made["prefix"]]
    assert made["key"] not in str(listed)
    assert revoked["revoked_at"]
    assert not await server.storage.people.has_keys()
    problem(again, 404, "not_found")


async def test_a_key_without_a_name_is_the_local_persons(server, client):
    made = (await client.post("/internal/keys", json={"person": None, "admin": False}, headers=INTERNAL)).json()

    person, _ = await server.usecases.people.authenticate(made["key"])

    assert person.is_local


async def test_the_command_line_has_a_backup_written(server, client, tmp_path):
    path = tmp_path / "copy.db"

    answer = await client.post("/internal/backup", json={"path": str(path)}, headers=INTERNAL)

    assert answer.status_code == 201
    assert path.stat().st_size > 0


@pytest.mark.parametrize("path", ["copy.db", "", "{here}/\0", "{here}/file/copy.db", "{here}"])
async def test_a_backup_goes_to_a_full_path_only(client, tmp_path, path):
    (tmp_path / "file").touch()

    answer = await client.post("/internal/backup", json={"path": path.format(here=tmp_path)}, headers=INTERNAL)

    assert problem(answer, 422, "invalid_option")["option"] == "path"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "keys"), ("POST", "keys"), ("DELETE", "keys/x"), ("POST", "backup")]
)
async def test_the_chores_are_for_the_local_secret_alone(server, client, method, path):
    key = await server.create_key()

    for header in ({}, {"Authorization": f"Bearer {key}"}):
        answer = await client.request(method, f"/internal/{path}", json={"path": "/tmp/x"}, headers=header)

        problem(answer, 401, "unauthorized")
