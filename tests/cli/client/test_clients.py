"""Both kinds of clients fulfil the same contract; and failures that only the HTTP client can meet."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from adapters.cli.client import open as clients
from adapters.cli.client.http import HttpClient
from adapters.cli.client.open import open_admin_client, open_job_client
from adapters.cli.client.types import JobRequest
from adapters.cli.error_output import Failure
from bot.errors import EaselError, StartupError
from bot.jobs import ImageRef
from bot.runtime.lock import DataLock, read_holder
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture

IMAGINE = JobRequest(command="imagine", options={"prompt": "a red circle", "seed": 7, "count": 2})


@pytest.fixture(params=["local", "remote"])
def mode(request, data_dir):
    if request.param == "local":
        yield "local"
        return
    with serving(data_dir):
        yield "remote"


@pytest.fixture
async def client(mode, composition):
    async with open_job_client(composition, composition.load(None)) as opened:
        yield opened


@pytest.fixture
async def admin_client(mode, composition):
    async with open_admin_client(composition, composition.load(None)) as opened:
        yield opened


# ---------------------------------------------------------------- the contract


async def test_a_job_is_followed_to_its_end_and_its_pictures_read(client):
    (job_id,) = await client.submit_jobs(IMAGINE)

    jobs = [job async for job in client.follow_job(job_id)]

    assert jobs[-1]["state"] == "delivered"
    assert {"state", "progress", "eta_s", "position"} <= jobs[0].keys()
    assert [await client.read_image(media["id"]) for media in jobs[-1]["result"]["media"]] == [
        picture(7, 64, 64),
        picture(8, 64, 64),
    ]


async def test_a_followed_job_ends_as_it_is_found_later(client):
    (job_id,) = await client.submit_jobs(IMAGINE)

    *_, last = [job async for job in client.follow_job(job_id)]

    assert last == await client.read_job(job_id)


async def test_a_failing_job_ends_with_its_error(client):
    (job_id,) = await client.submit_jobs(JobRequest(command="imagine", options={"prompt": "fail"}))

    *_, last = [job async for job in client.follow_job(job_id)]

    assert (last["state"], last["error"]["code"]) == ("failed", "engine_failed")


async def test_a_cancelled_job_ends_as_cancelled(client):
    (job_id,) = await client.submit_jobs(JobRequest(command="imagine", options={"prompt": "slow"}))

    async for job in client.follow_job(job_id):
        if job["progress"]:
            await client.cancel_job(job_id)

    assert job["state"] == "cancelled"


async def test_an_upload_can_be_asked_about(client):
    image = await client.upload_image(picture(1, 32, 32))
    (job_id,) = await client.submit_jobs(
        JobRequest(command="ask", options={"question": "what?"}, images=(ImageRef(image),))
    )

    *_, last = [job async for job in client.follow_job(job_id)]

    assert last["result"]["text"] == "It is what?"


async def test_combinations_need_a_quote(client):
    request = JobRequest(command="imagine", options={"prompt": "a {red|blue|green} circle"})

    quoted = await client.quote_price(request)
    ids = await client.submit_jobs(request, quoted.token)

    assert quoted.jobs == len(set(ids)) == 3


@pytest.mark.parametrize(
    ("code", "ask"),
    [
        ("not_found", lambda client: client.read_job("aaaaaaaa")),
        ("not_found", lambda client: client.read_image("0" * 64)),
        ("not_found", lambda client: client.cancel_job("aaaaaaaa")),
        ("invalid_option", lambda client: client.submit_jobs(JobRequest(command="imagine", options={"prompt": ""}))),
        ("unsupported_media", lambda client: client.upload_image(b"no picture")),
        ("too_large", lambda client: client.upload_image(b"0" * (10 * 2**20 + 1))),
    ],
)
async def test_refusals_carry_the_same_code(client, code, ask):
    with pytest.raises(EaselError) as refused:
        await ask(client)

    assert refused.value.code == code


async def test_keys_are_created_listed_and_revoked(admin_client):
    created = await admin_client.create_key("Ann", is_admin=True)
    await admin_client.create_key(None, is_admin=False)
    revoked = await admin_client.revoke_key(created["prefix"])
    listed = {key["prefix"]: key for key in await admin_client.list_keys()}

    assert created["key"].startswith(f"{created['prefix']}.")
    assert (created["person"], created["admin"]) == ("Ann", True)
    assert revoked["revoked_at"]
    assert len(listed) == 2
    assert listed[created["prefix"]]["revoked_at"]
    assert "key" not in listed[created["prefix"]]


async def test_an_unknown_key_cannot_be_revoked(admin_client):
    with pytest.raises(EaselError) as refused:
        await admin_client.revoke_key("nobody/../x")

    assert refused.value.code == "not_found"


async def test_a_backup_is_a_file(admin_client, tmp_path):
    await admin_client.backup_database(tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_bytes().startswith(b"SQLite format 3")


# ---------------------------------------------------------------- the same shapes


async def test_both_clients_return_the_same_job_body(composition, data_dir):
    async with open_job_client(composition, composition.load(None)) as local:
        (job_id,) = await local.submit_jobs(IMAGINE)
        *_, first = [job async for job in local.follow_job(job_id)]
    with serving(data_dir):
        async with open_job_client(composition, composition.load(None)) as remote:
            again = await remote.read_job(job_id)

    assert again == first


async def test_both_clients_return_the_same_key_body(composition, data_dir):
    async with open_admin_client(composition, composition.load(None)) as local:
        await local.create_key("Ann", is_admin=True)
        first = await local.list_keys()
    with serving(data_dir):
        async with open_admin_client(composition, composition.load(None)) as remote:
            again = await remote.list_keys()

    assert again == first


# ---------------------------------------------------------------- finding the server


async def test_a_server_that_is_starting_is_waited_for(data_dir, capsys):
    with DataLock(data_dir) as lock:
        asyncio.get_running_loop().call_later(0.5, lock.publish_url, "http://127.0.0.1:1")
        holder = await clients.find_server(data_dir)

    assert holder.url == "http://127.0.0.1:1"
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_a_holder_without_an_address_is_named(data_dir, monkeypatch):
    monkeypatch.setattr(clients, "START_WAIT_S", 0.3)
    with DataLock(data_dir), pytest.raises(StartupError, match="has not published its address"):
        await clients.find_server(data_dir)


async def test_a_holder_that_exits_frees_the_lock(data_dir):
    lock = DataLock(data_dir)
    lock.acquire()
    asyncio.get_running_loop().call_later(0.3, lock.release)

    assert await clients.find_server(data_dir) is None


async def test_a_server_that_takes_the_lock_meanwhile_is_used(composition, data_dir):
    """Between the check, which finds no holder, and the attempt to take the lock."""
    open_application, attempts = composition.open_application, []

    @asynccontextmanager
    async def open_after_server(loaded, only_submitted=True):
        attempts.append(only_submitted)
        if len(attempts) == 1:
            server.enter()
        async with open_application(loaded, only_submitted) as usecases:
            yield usecases

    server = ManualContext(lambda: serving(data_dir))
    composition.open_application = open_after_server
    try:
        async with open_job_client(composition, composition.load(None)) as client:
            assert isinstance(client, HttpClient)
    finally:
        server.leave()
    assert attempts == [True]


class ManualContext:
    """A context manager that is entered and left by explicit calls."""

    def __init__(self, make):
        self._make = make
        self._context = None

    def enter(self):
        self._context = self._make()
        self._context.__enter__()

    def leave(self):
        if self._context is not None:
            self._context.__exit__(None, None, None)


# ---------------------------------------------------------------- servers that misbehave


class ScriptedHandler(BaseHTTPRequestHandler):
    """Responds to each path from `answers`: (status, content type, body)."""

    answers: ClassVar[dict[str, list[tuple[int, str, bytes]]]]
    seen: ClassVar[list[tuple[str, str]]]

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        answers = self.answers[self.path]
        status, kind, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def scripted_server(data_dir, answers):
    """Holds the lock and sends scripted responses."""
    kind = type("Handler", (ScriptedHandler,), {"answers": answers, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with DataLock(data_dir) as lock:
            lock.publish_url(f"http://127.0.0.1:{server.server_port}")
            yield kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def event(name, content):
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()


def body(state, **more):
    return {"id": "a" * 16, "state": state, "progress": None, "eta_s": None, "position": None, "result": None, **more}


async def test_a_response_that_is_not_a_problem_is_not_shown(data_dir, composition):
    answers = {"/api/v1/jobs/abcd": [(500, "text/html", b"<h1>inner reason</h1>")]}
    with scripted_server(data_dir, answers):
        async with open_job_client(composition, composition.load(None)) as client:
            with pytest.raises(Failure) as refused:
                await client.read_job("abcd")

    assert "500" in refused.value.sentence
    assert "inner reason" not in refused.value.sentence


async def test_a_stream_that_breaks_is_followed_again(data_dir, composition):
    job = "a" * 16
    first = event("state", body("queued")) + b": a comment\n\n" + event("state", body("running"))
    second = event("state", body("running")) + event(
        "progress", {"phase": "running", "step": 1, "steps": 2, "eta_s": 3.0, "preview": None}
    )
    done = (200, "application/json", json.dumps(body("delivered")).encode())
    stream = "text/event-stream"
    answers = {
        f"/api/v1/jobs/{job}/events": [
            (200, stream, first),
            (200, stream, second + event("result", body("delivered"))),
        ],
        f"/api/v1/jobs/{job}": [done],
    }
    with scripted_server(data_dir, answers):
        async with open_job_client(composition, composition.load(None)) as client:
            jobs = [one async for one in client.follow_job(job)]

    assert [one["state"] for one in jobs] == ["queued", "running", "running", "running", "delivered"]
    assert jobs[3]["progress"] == {"phase": "running", "step": 1, "steps": 2, "text": None}


async def test_a_server_that_does_not_restart_is_reported_with_the_job(data_dir, composition, monkeypatch):
    monkeypatch.setattr("adapters.cli.client.http.RECONNECT_TIMEOUT_S", 0.2)
    answers = {f"/api/v1/jobs/{'a' * 16}/events": [(200, "text/event-stream", event("state", body("queued")))]}
    async with asyncio.timeout(20):
        with scripted_server(data_dir, answers):
            opened = open_job_client(composition, composition.load(None))
            client = await opened.__aenter__()
        with pytest.raises(Failure, match=rf"fetch {'a' * 16}"):
            [one async for one in client.follow_job("a" * 16)]
        await opened.__aexit__(None, None, None)


@pytest.mark.parametrize("is_safe", [True, False])
async def test_a_request_to_a_server_that_is_gone_is_one_sentence(data_dir, composition, is_safe):
    with scripted_server(data_dir, {}):
        opened = open_job_client(composition, composition.load(None))
        client = await opened.__aenter__()

    with pytest.raises(Failure, match=r"does not respond \(ConnectError\)"):
        await (client.cancel_job("a" * 16) if is_safe else client.upload_image(b"image"))

    await opened.__aexit__(None, None, None)


async def test_a_restart_is_said_to_be_waited_for_once_whatever_the_number_of_jobs(
    data_dir, composition, monkeypatch, capsys
):
    monkeypatch.setattr("adapters.cli.client.http.RECONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr("adapters.cli.client.http._POLL_INTERVAL_S", 0.01)
    with scripted_server(data_dir, {}):
        opened = open_job_client(composition, composition.load(None))
        client = await opened.__aenter__()

    waits = [client.follow_job(job * 16).__anext__() for job in "abc"]
    ends = await asyncio.gather(*waits, return_exceptions=True)

    await opened.__aexit__(None, None, None)
    assert all("The server stopped." in str(end) for end in ends)
    assert capsys.readouterr().err.count("waiting for it to restart") == 1


async def test_no_proxy_gets_the_secret(data_dir, composition, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    done = (200, "application/json", json.dumps(body("delivered")).encode())
    with scripted_server(data_dir, {"/api/v1/jobs/abcd": [done]}) as server:
        holder = read_holder(data_dir)
        async with open_job_client(composition, composition.load(None)) as client:
            job = await client.read_job("abcd")

    assert job["state"] == "delivered"
    assert server.seen == [("/api/v1/jobs/abcd", f"Bearer {holder.secret}")]
