"""Starting, listening and stopping; and the URLs outside /api/v1."""

import asyncio
import contextlib
import re
import signal
import socket
import time

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.web.server import NO_KEY
from bot.errors import StartupError
from tests.web.api_client import ask, imagine, make, parsed
from tests.web.conftest import SECRET, open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")


def open_busy_port() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


async def test_the_address_is_published_and_announced_once_it_answers(easel):
    url = await easel.serve()

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/healthz")

    assert answer.json() == {"status": "ok"}
    assert easel.announced == [NO_KEY, f"The page: {url}/"]
    assert url.startswith("http://127.0.0.1:")


async def test_a_locked_server_does_not_ask_for_a_key_before_a_proxy(easel):
    key = await easel.create_key()
    await easel.storage.people.revoke_key(key.partition(".")[0])

    url = await easel.serve()

    assert easel.announced == [f"The page: {url}/"]


async def test_a_port_in_use_is_one_sentence(easel):
    with open_busy_port() as listener:
        port = listener.getsockname()[1]

        with pytest.raises(StartupError) as refused:
            await easel.serve(port=port)

    assert str(refused.value) == f"Port {port} on 127.0.0.1 is in use: stop the other program, or set EASEL_WEB__PORT."


async def test_two_servers_do_not_share_a_port(easel):
    url = await easel.serve()
    first, easel.serving = easel.serving, None

    with pytest.raises(StartupError, match="is in use"):
        await easel.serve(port=int(url.rpartition(":")[2]))

    easel.serving = first


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "easel.example"])
async def test_a_public_address_needs_a_key_first(easel, host):
    with pytest.raises(StartupError, match="easel keys create"):
        await easel.serve(host=host)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_foreign_address_is_one_sentence(easel, host):
    await easel.create_key()

    with pytest.raises(StartupError, match="EASEL_WEB__HOST"):
        await easel.serve(host=host)


async def test_with_a_key_it_listens_everywhere_and_publishes_a_loopback_url(easel):
    key = await easel.create_key()

    url = await easel.serve(host="0.0.0.0")

    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        closed = await client.get("/api/v1/quota")
        opened = await client.get("/api/v1/quota", headers={"Authorization": f"Bearer {key}"})
    assert url.startswith("http://127.0.0.1:")
    assert (closed.status_code, opened.status_code) == (401, 200)


async def test_a_public_server_stays_locked_when_its_last_key_is_revoked(easel):
    key = await easel.create_key()
    url = await easel.serve(host="0.0.0.0")
    await easel.storage.people.revoke_key(key.partition(".")[0])

    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/api/v1/quota")

    assert answer.status_code == 401


async def test_it_stops_soon_while_streams_are_open(easel, monkeypatch):
    monkeypatch.setattr("adapters.web.server.SHUTDOWN_GRACE_S", 60)
    await easel.serve()
    async with open_client(easel) as client:
        job_id = (await ask(client, imagine("slow")))["id"]
        async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
            events = parsed(stream)
            await anext(events)

            began = time.monotonic()
            await easel.stop()
            rest = [event["name"] async for event in events]

    assert time.monotonic() - began < 30
    assert "result" not in rest
    assert "error" not in rest


async def test_it_stops_while_an_upload_hangs(server):
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/v1/media HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n")
    writer.write(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
    await writer.drain()
    await asyncio.sleep(0.1)

    began = time.monotonic()
    await server.stop()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

    assert time.monotonic() - began < 30


async def test_its_port_is_free_again_after_a_stop(easel):
    url = await easel.serve()
    await easel.stop()

    again = await easel.serve(port=int(url.rpartition(":")[2]))

    assert again == url


async def test_signal_handlers_are_left_alone(easel):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    await easel.serve()

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ---------------------------------------------------------------- outside /api/v1


async def test_it_is_ready_when_the_database_and_a_worker_are(server, client):
    ready = await client.get("/readyz")
    server.pool.state = "restarting"
    unready = await client.get("/readyz")

    assert (ready.status_code, unready.status_code) == (200, 503)
    assert set(ready.json()["checks"]) == {"database", "workers"}
    assert unready.json()["checks"]["workers"]["ok"] is False
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("admin", [False, True])
async def test_strangers_learn_from_readyz_only_whether_it_is_ready(server, client, admin):
    _, key = await server.usecases.people.create_key("ann", is_admin=admin)

    strangers = [await client.get("/readyz"), await client.get("/readyz", headers={"Authorization": "Bearer no"})]
    own = await client.get("/readyz", headers={"Authorization": f"Bearer {key}"})
    local = await client.get("/readyz", headers={"Authorization": f"Bearer {SECRET}"})
    server.pool.state = "restarting"
    strangers.append(await client.get("/readyz"))

    assert [(one.status_code, one.content) for one in strangers] == [(200, b""), (200, b""), (503, b"")]
    assert [one.headers["cache-control"] for one in strangers] == ["no-store"] * 3
    assert (own.status_code, "checks" in own.text) == (200, admin)
    assert "checks" in local.json()


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_monitoring_may_send_head_requests(shared_client, path):
    answer = await shared_client.head(path)

    assert (answer.status_code, answer.content) == (200, b"")


async def test_metrics_show_jobs_devices_and_requests(client):
    await make(client)

    answer = await client.get("/metrics")

    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    jobs = {sample.labels["state"]: sample.value for sample in families["easel_jobs"].samples}
    routes = {sample.labels["route"] for sample in families["easel_http_requests"].samples if "route" in sample.labels}
    assert jobs["delivered"] == 1
    assert "/api/v1/jobs/{job_id}" in routes
    assert families["easel_device_ready"].samples[0].value == 1
    assert {"device": "cpu", "model": "paint"} in [sample.labels for sample in families["easel_model_loaded"].samples]


async def test_a_public_server_shows_its_metrics_to_admins_and_to_the_tokens_owner(easel):
    ann = await easel.create_key("ann")
    _, admin = await easel.usecases.people.create_key("ben", is_admin=True)
    statuses = {}
    for token in ("", "the-token"):
        url = await easel.serve(host="0.0.0.0", metrics_token=token)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            for shown in ("", ann, admin, SECRET, "the-token", "the-toke"):
                headers = {"Authorization": f"Bearer {shown}"} if shown else {}
                statuses[token, shown] = (await client.get("/metrics", headers=headers)).status_code
        await easel.stop()

    refused, allowed = {"": 401, ann: 403, "the-toke": 401}, {admin: 200, SECRET: 200}
    assert {shown: status for (token, shown), status in statuses.items() if not token} == {
        **refused, **allowed, "the-token": 401,
    }  # fmt: skip
    assert {shown: status for (token, shown), status in statuses.items() if token} == {
        **refused, **allowed, "the-token": 200,
    }  # fmt: skip


async def test_metrics_on_loopback_are_not_shown_through_a_proxy(easel):
    await easel.create_key()
    url = await easel.serve()
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        direct = await client.get("/metrics")
        proxied = [
            await client.get("/metrics", headers=headers)
            for headers in ({"X-Forwarded-For": "192.0.2.1"}, {"Host": "easel.example"})
        ]
    await easel.stop()
    async with httpx2.AsyncClient(base_url=await easel.serve(metrics_token="x"), trust_env=False) as client:
        without_token = await client.get("/metrics")

    assert direct.status_code == 200
    assert [one.status_code for one in (*proxied, without_token)] == [401, 401, 401]


async def test_restarts_are_a_counter(shared_client):
    text = (await shared_client.get("/metrics")).text

    assert "# TYPE easel_device_restarts_total counter" in text
    assert 'easel_device_restarts_total{device="cpu"} 0.0' in text


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/quota", "/static/0/start.js", "/nothing", "/metrics"])
async def test_every_response_has_the_security_headers(shared_client, path):
    headers = (await shared_client.get(path)).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert policy["object-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "lit-html"
    assert {"camera=()", "geolocation=()", "microphone=()"} <= set(headers["permissions-policy"].split(", "))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_pages_use_no_external_resources_and_no_inline_script(shared_client, path):
    page = (await shared_client.get(path)).text

    assert "https://" not in page
    assert "http://" not in page.replace(str(shared_client.base_url), "")
    assert "<script>" not in page
    assert " style=" not in page
    assert " onclick=" not in page


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_files_that_the_page_links_to_exist_and_are_kept_for_ever(shared_client, path):
    page = (await shared_client.get(path)).text
    addresses = sorted(set(re.findall(r'"(/static/[^"]+\.\w+)"', page)))

    responses = [await shared_client.get(address) for address in addresses]

    assert len(addresses) >= 3
    assert [one.status_code for one in responses] == [200] * len(addresses)
    assert {one.headers["cache-control"] for one in responses} == {"public, max-age=31536000, immutable"}


async def test_the_page_tells_whether_a_key_is_needed(server, client):
    without = (await client.get("/")).text
    await server.create_key()
    with_key = (await client.get("/")).text

    assert 'data-needs-key="no"' in without
    assert 'data-needs-key="yes"' in with_key
