"""Who may call: keys, the local secret, and what a foreign web page can make a browser send."""

import asyncio

import pytest

from tests.web.api_client import ask, imagine, problem
from tests.web.conftest import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTA = "/api/v1/quota"


async def test_without_keys_the_caller_is_the_local_person(shared_server, shared_client):
    job = await ask(shared_client)

    local = await shared_server.usecases.people.local_person()
    assert (await shared_server.storage.jobs.get_job(job["id"], None)).owner == local.id


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1:8000"])
async def test_any_loopback_name_is_accepted(shared_client, host):
    assert (await shared_client.get(QUOTA, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "", "0.0.0.0", "127.0.0.1:x"]
)
async def test_a_foreign_host_is_refused(shared_client, host):
    answer = await shared_client.get(QUOTA, headers={"Host": host})

    assert "loopback" in problem(answer, 401, "unauthorized")["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "https://{host}", "http://localhost:1", "file://", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_foreign_origin_is_refused(shared_server, shared_client, method, origin):
    host = shared_server.url.removeprefix("http://")
    path = "/api/v1/jobs" if method == "POST" else "/api/v1/jobs/aaaaaaaaaaaaaaaa"

    answer = await shared_client.request(method, path, json=imagine(), headers={"Origin": origin.format(host=host)})

    assert "Other websites" in problem(answer, 401, "unauthorized")["detail"]


async def test_the_pages_own_origin_is_accepted(shared_server, shared_client):
    own = {"Origin": shared_server.url, "Sec-Fetch-Site": "same-origin"}

    assert (await ask(shared_client, imagine(), **own))["state"] == "queued"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_request_from_another_site_is_refused(shared_client, site):
    problem(await shared_client.get(QUOTA, headers={"Sec-Fetch-Site": site}), 401, "unauthorized")


FORWARDING = (
    "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded", "X_Forwarded_For",
    "Forwarded-For", "X-Real-IP", "Via", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "True-Client-IP", "X-Client-IP",
    "Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Original-Forwarded-For",
    "X-Original-Host", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "X-ProxyUser-IP", "X-Azure-ClientIP",
    "X-Envoy-External-Address", "X-Appengine-User-IP", "X-Amzn-Trace-Id", "WL-Proxy-Client-IP", "Proxy-Connection",
    "Tailscale-User-Login", "X-Host", "X-Scheme", "X-Nginx-Proxy", "X-Varnish", "X-Vercel-Ip-Country",
    "X-Cloud-Trace-Context", "Front-End-Https", "Remote-User", "X-Remote-User", "X-Webauth-User", "X-Coming-From",
    "X-Auth-Request-Email", "X-Authentik-Username", "X-SSL-Client-Cert", "SSL-Client-Verify", "X-Client-Cert",
)  # fmt: skip


@pytest.mark.parametrize("header", FORWARDING)
async def test_a_forwarded_request_needs_a_key(shared_client, header):
    answer = await shared_client.get(QUOTA, headers={header: "1.2.3.4"})

    assert "proxy" in problem(answer, 401, "unauthorized")["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "{own}"), ("Origin", "http://evil.example")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
async def test_a_header_that_comes_twice_is_refused_for_either_value(shared_server, shared_client, headers):
    sent = [(name, value.format(own=shared_server.url)) for name, value in headers]

    problem(await shared_client.get(QUOTA, headers=sent), 401, "unauthorized")


async def test_headers_of_ordinary_programs_are_not_taken_for_a_proxys(shared_client):
    ordinary = {
        "User-Agent": "curl/8", "Accept": "*/*", "Accept-Encoding": "gzip, zip", "Content-Type": "application/json",
        "Idempotency-Key": "x", "X-Easel": "1", "X-Request-Id": "x", "X-Stainless-Lang": "python", "DNT": "1",
        "Cache-Control": "no-cache", "If-None-Match": "x", "X-Requested-With": "XMLHttpRequest", "Cookie": "a=b",
        "Sec-Fetch-Mode": "cors", "Upgrade-Insecure-Requests": "1", "Priority": "u=1", "X-Api-Key": "x",
        "Traceparent": "x",
    }  # fmt: skip

    assert (await shared_client.get(QUOTA, headers=ordinary)).status_code == 200


async def test_a_request_of_http_1_0_needs_a_key(shared_server):
    host, _, port = shared_server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {QUOTA} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()

    assert answer.split()[1] == "401"
    assert "proxy" in answer


async def test_a_key_works_with_any_host_and_proxy(server, client):
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


async def test_a_wrong_key_is_refused_even_while_none_exists(shared_client):
    problem(await shared_client.get(QUOTA, headers={"Authorization": "Bearer x.y"}), 401, "unauthorized")


async def test_the_first_key_takes_effect_immediately_and_revoking_the_last_one_unlocks_nothing(server, client):
    before = await client.get(QUOTA)
    key = await server.create_key()
    locked = await client.get(QUOTA)
    opened = await client.get(QUOTA, headers={"Authorization": f"Bearer {key}"})
    await server.storage.people.revoke_key(key.partition(".")[0])
    revoked = await client.get(QUOTA, headers={"Authorization": f"Bearer {key}"})
    after = await client.get(QUOTA)

    assert [answer.status_code for answer in (before, locked, opened, revoked, after)] == [200, 401, 200, 401, 401]
    assert "easel keys unlock" in problem(after, 401, "unauthorized")["detail"]


async def test_only_the_local_secret_unlocks_and_only_while_no_key_is_active(server, client):
    key = await server.create_key()
    refused = await client.post("/internal/unlock", headers=INTERNAL)
    await server.storage.people.revoke_key(key.partition(".")[0])
    strangers = await client.post("/internal/unlock")
    locked = await client.get(QUOTA)
    unlocked = await client.post("/internal/unlock", headers=INTERNAL)
    opened = await client.get(QUOTA)
    await server.create_key()
    again = await client.get(QUOTA)

    assert refused.json() == {"locked": True, "active_keys": 1}
    assert unlocked.json() == {"locked": False, "active_keys": 0}
    answers = (strangers, locked, opened, again)
    assert [answer.status_code for answer in answers] == [401, 401, 200, 401]


async def test_the_local_secret_is_the_local_person_always(server, client):
    await server.create_key("Ada")

    job = await ask(client, imagine(), Authorization=f"Bearer {SECRET}")

    local = await server.usecases.people.local_person()
    assert (await server.storage.jobs.get_job(job["id"], None)).owner == local.id


async def test_every_call_of_the_api_requires_a_caller(server, client):
    api = (await client.get("/openapi.json")).json()
    await server.create_key("Ada")

    for path, methods in api["paths"].items():
        for method in methods:
            address = path.replace("{job_id}", "aaaaaaaaaaaaaaaa").replace("{media_id}", "0" * 64)
            if (path, method) == ("/api/v1/session", "post"):  # it checks the key in its body
                continue
            problem(await client.request(method, address), 401, "unauthorized")


async def test_an_unknown_caller_is_refused_before_the_body_is_read(server, client, monkeypatch):
    monkeypatch.setattr("adapters.web.middleware.DRAIN_TIMEOUT_S", 60.0)
    await server.create_key("Ada")

    answer = await client.post("/api/v1/media", files={"file": bytes(50 * 2**20)})

    problem(answer, 401, "unauthorized")


async def test_no_response_allows_other_origins(shared_server, shared_client):
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    answers = [
        await shared_client.options("/api/v1/jobs", headers=preflight),
        await shared_client.get("/", headers=preflight),
    ]

    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


# ---------------------------------------------------------------- /internal


INTERNAL = {"Authorization": f"Bearer {SECRET}"}


async def test_the_command_line_makes_lists_and_revokes_keys(server, client):
    created = (await client.post("/internal/keys", json={"person": "Ada", "admin": True}, headers=INTERNAL)).json()
    person, key = await server.usecases.people.authenticate(created["key"])
    listed = (await client.get("/internal/keys", headers=INTERNAL)).json()["keys"]
    revoked = (await client.delete(f"/internal/keys/{created['prefix']}", headers=INTERNAL)).json()
    again = await client.delete("/internal/keys/none", headers=INTERNAL)

    assert (person.name, key.is_admin, key.prefix) == ("Ada", True, created["prefix"])
    assert [entry["prefix"] for entry in listed] == [created["prefix"]]
    assert created["key"] not in str(listed)
    assert revoked["revoked_at"]
    assert not await server.storage.people.has_keys()
    problem(again, 404, "not_found")


async def test_a_key_without_a_name_is_the_local_persons(server, client):
    created = (await client.post("/internal/keys", json={"person": None, "admin": False}, headers=INTERNAL)).json()

    person, _ = await server.usecases.people.authenticate(created["key"])

    assert person.is_local


async def test_the_command_line_writes_a_backup(shared_server, shared_client, tmp_path):
    path = tmp_path / "copy.db"

    answer = await shared_client.post("/internal/backup", json={"path": str(path)}, headers=INTERNAL)

    assert answer.status_code == 201
    assert path.stat().st_size > 0


@pytest.mark.parametrize("path", ["copy.db", "", "{here}/\0", "{here}/file/copy.db", "{here}"])
async def test_a_backup_goes_to_a_full_path_only(shared_client, tmp_path, path):
    (tmp_path / "file").touch()

    answer = await shared_client.post("/internal/backup", json={"path": path.format(here=tmp_path)}, headers=INTERNAL)

    assert problem(answer, 422, "invalid_option")["option"] == "path"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "keys"), ("POST", "keys"), ("DELETE", "keys/x"), ("POST", "unlock"), ("POST", "backup")],
)
async def test_internal_calls_need_the_local_secret(server, client, method, path):
    key = await server.create_key()

    for header in ({}, {"Authorization": f"Bearer {key}"}):
        answer = await client.request(method, f"/internal/{path}", json={"path": "/tmp/x"}, headers=header)

        problem(answer, 401, "unauthorized")
