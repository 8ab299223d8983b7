"""The two ways to the house keep the same contract; and what only a server can do to a caller."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from adapters.cli.client import open as callers
from adapters.cli.client.http import RemoteCaller
from adapters.cli.client.open import open_caller, open_keeper
from adapters.cli.client.types import Order
from adapters.cli.error_output import Failure
from bot.errors import EaselError, StartupError
from bot.runtime.lock import DataLock, read_holder
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture

IMAGINE = Order(command="imagine", options={"prompt": "a red circle", "seed": 7, "count": 2})


@pytest.fixture(params=["local", "remote"])
def way(request, data_dir):
    if request.param == "local":
        yield "local"
        return
    with serving(data_dir):
        yield "remote"


@pytest.fixture
async def caller(way, composition):
    async with open_caller(composition, composition.load(None)) as opened:
        yield opened


@pytest.fixture
async def keeper(way, composition):
    async with open_keeper(composition, composition.load(None)) as opened:
        yield opened


# ---------------------------------------------------------------- the contract


async def test_a_job_is_followed_to_its_end_and_its_pictures_read(caller):
    (job_id,) = await caller.submit(IMAGINE)

    jobs = [job async for job in caller.follow(job_id)]

    assert jobs[-1]["state"] == "delivered"
    assert {"state", "progress", "eta_s", "position"} <= jobs[0].keys()
    assert [await caller.picture(media["id"]) for media in jobs[-1]["result"]["media"]] == [
        picture(7, 64, 64),
        picture(8, 64, 64),
    ]


async def test_a_followed_job_ends_as_it_is_found_later(caller):
    (job_id,) = await caller.submit(IMAGINE)

    *_, last = [job async for job in caller.follow(job_id)]

    assert last == await caller.job(job_id)


async def test_a_failing_job_ends_with_its_error(caller):
    (job_id,) = await caller.submit(Order(command="imagine", options={"prompt": "fail"}))

    *_, last = [job async for job in caller.follow(job_id)]

    assert (last["state"], last["error"]["code"]) == ("failed", "engine_failed")


async def test_a_cancelled_job_ends_as_cancelled(caller):
    (job_id,) = await caller.submit(Order(command="imagine", options={"prompt": "slow"}))

    async for job in caller.follow(job_id):
        if job["progress"]:
            await caller.cancel(job_id)

    assert job["state"] == "cancelled"


async def test_an_upload_can_be_asked_about(caller):
    image = await caller.upload(picture(1, 32, 32))
    (job_id,) = await caller.submit(Order(command="ask", options={"question": "what?"}, images=((image, ""),)))

    *_, last = [job async for job in caller.follow(job_id)]

    assert last["result"]["text"] == "It is what?"


async def test_combinations_take_a_quote(caller):
    order = Order(command="imagine", options={"prompt": "a {red|blue|green} circle"})

    quoted = await caller.quote(order)
    ids = await caller.submit(order, quoted.quote)

    assert quoted.jobs == len(set(ids)) == 3


@pytest.mark.parametrize(
    ("code", "ask"),
    [
        ("not_found", lambda caller: caller.job("aaaaaaaa")),
        ("not_found", lambda caller: caller.picture("0" * 64)),
        ("not_found", lambda caller: caller.cancel("aaaaaaaa")),
        ("invalid_option", lambda caller: caller.submit(Order(command="imagine", options={"prompt": ""}))),
        ("unsupported_media", lambda caller: caller.upload(b"no picture")),
        ("too_large", lambda caller: caller.upload(b"0" * (10 * 2**20 + 1))),
    ],
)
async def test_refusals_carry_the_same_code(caller, code, ask):
    with pytest.raises(EaselError) as refused:
        await ask(caller)

    assert refused.value.code == code


async def test_keys_are_made_listed_and_ended(keeper):
    made = await keeper.create_key("Ann", is_admin=True)
    await keeper.create_key(None, is_admin=False)
    ended = await keeper.revoke_key(made["prefix"])
    listed = {key["prefix"]: key for key in await keeper.keys()}

    assert made["key"].startswith(f"{made['prefix']}.")
    assert (made["person"], made["admin"]) == ("Ann", True)
    assert ended["revoked_at"]
    assert len(listed) == 2
    assert listed[made["prefix"]]["revoked_at"]
    assert "key" not in listed[made["prefix"]]


async def test_an_unknown_key_cannot_be_ended(keeper):
    with pytest.raises(EaselError) as refused:
        await keeper.revoke_key("nobody/../x")

    assert refused.value.code == "not_found"


async def test_a_backup_is_a_file(keeper, tmp_path):
    await keeper.backup(tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_bytes().startswith(b"SQLite format 3")


# ---------------------------------------------------------------- the same shapes


async def test_both_ways_tell_a_job_in_the_same_words(composition, data_dir):
    async with open_caller(composition, composition.load(None)) as local:
        (job_id,) = await local.submit(IMAGINE)
        *_, told = [job async for job in local.follow(job_id)]
    with serving(data_dir):
        async with open_caller(composition, composition.load(None)) as remote:
            again = await remote.job(job_id)

    assert again == told


async def test_both_ways_tell_a_key_in_the_same_words(composition, data_dir):
    async with open_keeper(composition, composition.load(None)) as local:
        await local.create_key("Ann", is_admin=True)
        told = await local.keys()
    with serving(data_dir):
        async with open_keeper(composition, composition.load(None)) as remote:
            again = await remote.keys()

    assert again == told


# ---------------------------------------------------------------- finding the server


async def test_a_server_that_is_starting_is_waited_for(data_dir, capsys):
    with DataLock(data_dir) as lock:
        asyncio.get_running_loop().call_later(0.5, lock.publish, "http://127.0.0.1:1")
        holder = await callers.find_server(data_dir)

    assert holder.url == "http://127.0.0.1:1"
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_a_holder_that_never_says_where_it_listens_is_named(data_dir, monkeypatch):
    monkeypatch.setattr(callers, "START_WAIT_S", 0.3)
    with DataLock(data_dir), pytest.raises(StartupError, match="does not say where it listens"):
        await callers.find_server(data_dir)


async def test_a_holder_that_goes_away_leaves_the_house_to_us(data_dir):
    lock = DataLock(data_dir)
    lock.acquire()
    asyncio.get_running_loop().call_later(0.3, lock.release)

    assert await callers.find_server(data_dir) is None


async def test_whoever_takes_the_lock_meanwhile_is_asked_instead(composition, data_dir):
    """Between our look, which finds nobody, and our own try."""
    real, tries = composition.open_application, []

    @asynccontextmanager
    async def beaten(loaded, only_own=True):
        tries.append(only_own)
        if len(tries) == 1:
            server.enter()
        async with real(loaded, only_own) as usecases:
            yield usecases

    server = Entered(lambda: serving(data_dir))
    composition.open_application = beaten
    try:
        async with open_caller(composition, composition.load(None)) as caller:
            assert isinstance(caller, RemoteCaller)
    finally:
        server.leave()
    assert tries == [True]


class Entered:
    """A context entered and left by hand, from a thread."""

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


class Rough(BaseHTTPRequestHandler):
    """Answers each path from `answers`: (status, content type, body)."""

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
def rough_server(data_dir, answers):
    """Holds the lock and answers as told."""
    kind = type("Told", (Rough,), {"answers": answers, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with DataLock(data_dir) as lock:
            lock.publish(f"http://127.0.0.1:{server.server_port}")
            yield kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def event(name, content):
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()


def body(state, **more):
    return {"id": "a" * 16, "state": state, "progress": None, "eta_s": None, "position": None, "result": None, **more}


async def test_an_answer_that_is_no_problem_is_told_without_showing_it(data_dir, composition):
    answers = {"/api/v1/jobs/abcd": [(500, "text/html", b"<h1>inner reason</h1>")]}
    with rough_server(data_dir, answers):
        async with open_caller(composition, composition.load(None)) as caller:
            with pytest.raises(Failure) as refused:
                await caller.job("abcd")

    assert "500" in refused.value.sentence
    assert "inner reason" not in refused.value.sentence


async def test_a_stream_that_breaks_is_followed_again(data_dir, composition):
    job = "a" * 16
    first = event("state", body("queued")) + b": a comment\n\n" + event("state", body("running"))
    second = event("state", body("running")) + event("progress", {"step": 1, "steps": 2, "eta_s": 3.0, "preview": None})
    done = (200, "application/json", json.dumps(body("delivered")).encode())
    stream = "text/event-stream"
    answers = {
        f"/api/v1/jobs/{job}/events": [
            (200, stream, first),
            (200, stream, second + event("result", body("delivered"))),
        ],
        f"/api/v1/jobs/{job}": [done],
    }
    with rough_server(data_dir, answers):
        async with open_caller(composition, composition.load(None)) as caller:
            jobs = [one async for one in caller.follow(job)]

    assert [one["state"] for one in jobs] == ["queued", "running", "running", "running", "delivered"]
    assert jobs[3]["progress"] == {"step": 1, "steps": 2}


async def test_a_server_that_does_not_come_back_is_told_with_the_job(data_dir, composition, monkeypatch):
    monkeypatch.setattr("adapters.cli.client.http.RETURN_WAIT_S", 0.2)
    answers = {f"/api/v1/jobs/{'a' * 16}/events": [(200, "text/event-stream", event("state", body("queued")))]}
    async with asyncio.timeout(20):
        with rough_server(data_dir, answers):
            caller_way = open_caller(composition, composition.load(None))
            caller = await caller_way.__aenter__()
        with pytest.raises(Failure, match=rf"fetch {'a' * 16}"):
            [one async for one in caller.follow("a" * 16)]
        await caller_way.__aexit__(None, None, None)


async def test_no_proxy_gets_the_secret(data_dir, composition, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    done = (200, "application/json", json.dumps(body("delivered")).encode())
    with rough_server(data_dir, {"/api/v1/jobs/abcd": [done]}) as server:
        holder = read_holder(data_dir)
        async with open_caller(composition, composition.load(None)) as caller:
            job = await caller.job("abcd")

    assert job["state"] == "delivered"
    assert server.seen == [("/api/v1/jobs/abcd", f"Bearer {holder.secret}")]
