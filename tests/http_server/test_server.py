"""Clients that send too little, too late or nonsense; and no file descriptors left."""

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog

from adapters.http_server import ConnectionLimits, EmbeddedServer, server, server_config

LIMITS = ConnectionLimits(max_connections=8, header_timeout_s=0.12, body_timeout_s=0.12, response_timeout_s=0.12)
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_S = 20.0


async def app(scope, receive, send):
    """Answers with the body's size; `/hold` takes 0.3 s, `/large` is more than any buffer, `/early` reads nothing."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/hold":
        await asyncio.sleep(0.3)
    body = b"x" * 2**25 if scope["path"] == "/large" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serve(limits: ConnectionLimits = LIMITS) -> AsyncIterator[tuple[EmbeddedServer, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    is_listening = asyncio.Event()
    embedded = EmbeddedServer(server_config(app, shutdown_grace_s=1, keep_alive_s=5), limits, is_listening.set)
    serving = asyncio.create_task(embedded.serve(sockets=[listener]))
    await is_listening.wait()
    try:
        yield embedded, listener.getsockname()[1]
    finally:
        embedded.should_exit = True
        await serving


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts with pauses; returns everything up to the end of the connection."""
    async with connect(port) as (reader, writer):
        reading = asyncio.create_task(reader.read())  # a part that comes after the answer resets the connection
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(pause_s)
            writer.write(part)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                return await reading
    return b""


async def get(port: int) -> bytes:
    async with connect(port) as (reader, writer):
        writer.write(GET)
        async with asyncio.timeout(WITHIN_S):
            return await reader.readline()


@pytest.fixture(autouse=True)
def logged(caplog) -> Iterator[list[logging.LogRecord]]:
    """Nothing that strangers do may fill the log."""
    caplog.set_level(logging.INFO)
    yield caplog.records
    assert [record.getMessage() for record in caplog.records if record.name != "asyncio" or record.levelno > 20] == []


# ---------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([b""], b""),
        ([b"GET / HTTP/1.1\r\nHost:"], b"HTTP/1.1 408"),
        ([b"GET / HT", b"TP/1.1\r\n", b"Ho", b"st: ", b"x"], b"HTTP/1.1 408"),
        ([HEAD + b"Content-Length: 9\r\n\r\n"], b"HTTP/1.1 408"),
        ([HEAD + b"Content-Length: 9\r\n\r\n", b"a", b"b", b"c", b"d"], b"HTTP/1.1 408"),
        ([CHUNKED + b"5\r\nab", b"c"], b"HTTP/1.1 408"),
    ],
    ids=["nothing", "half headers", "slow headers", "no body", "slow body", "slow chunks"],
)
async def test_what_does_not_arrive_in_time_is_given_up(parts, answer):
    async with serve() as (embedded, port):
        began = time.monotonic()
        got = await exchange(port, *parts, pause_s=0.05)

        assert got[:12] == answer
        assert time.monotonic() - began < 10
        assert len(embedded.registry) == 0


async def test_a_slow_body_that_keeps_coming_is_received():
    async with serve() as (_, port):
        body = b"x" * 32_768
        head = HEAD + b"Connection: close\r\nContent-Length: 32770\r\n\r\n"

        got = await exchange(port, head + body, b"y", b"z", pause_s=0.1)

    assert got.endswith(b"32770")


async def test_a_response_may_take_longer_than_a_request():
    async with serve() as (_, port), connect(port) as (reader, writer):
        writer.write(HOLD)

        assert (await asyncio.wait_for(reader.readline(), WITHIN_S)).startswith(b"HTTP/1.1 200")


async def test_a_kept_alive_connection_waits_longer_than_headers_may_take():
    async with serve() as (_, port), connect(port) as (reader, writer):
        for _ in range(2):
            writer.write(GET)
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), WITHIN_S)
            await asyncio.sleep(0.16)

            assert got.startswith(b"HTTP/1.1 200")


async def test_headers_on_a_kept_alive_connection_have_a_deadline_too():
    async with serve() as (_, port), connect(port) as (reader, writer):
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), WITHIN_S)
        writer.write(b"GET / HT")

        assert (await asyncio.wait_for(reader.read(), WITHIN_S)).startswith(b"HTTP/1.1 408")


async def test_a_body_after_its_response_has_a_deadline_too():
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    async with serve() as (embedded, port):
        got = await exchange(port, early, b"a", b"b", b"c", b"d", pause_s=0.05)

        assert got.startswith(b"HTTP/1.1 200")
        assert len(embedded.registry) == 0


async def test_pipelined_requests_are_all_answered():
    last = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    async with serve() as (_, port):
        got = await exchange(port, GET + GET + last)

    assert got.count(b"HTTP/1.1 200") == 3
    assert got.endswith(b"3")


async def test_a_client_that_reads_nothing_is_disconnected():
    async with serve() as (embedded, port):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(GET.replace(b"/ ", b"/large ", 1))
            async with asyncio.timeout(WITHIN_S):
                while not len(embedded.registry):  # noqa: ASYNC110 - the server is watched
                    await asyncio.sleep(0.01)
                while len(embedded.registry):  # noqa: ASYNC110 - the server is watched
                    await asyncio.sleep(0.01)


# ---------------------------------------------------------------- nonsense


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /" + b"a" * 70_000, b"HTTP/1.1 400"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
        (CHUNKED + b"zz\r\n", b"HTTP/1.1 400"),
        (CHUNKED + b"3\r\nabc\r\nzz\r\n", b"HTTP/1.1 400"),
        (CHUNKED + b"1\r\na\r\n" * 2000, b"HTTP/1.1 400"),
        (HEAD + b"a:\r\n" * 1000 + b"\r\n", b"HTTP/1.1 400"),
        (HEAD.replace(b"\r", b"") + b"a:\n" * 1000 + b"\n", b"HTTP/1.1 400"),
        (HEAD + b"a: " + b"a" * 2**16 + b"\r\n\r\n", b"HTTP/1.1 400"),
        (CHUNKED.replace(b"/ ", b"/early ", 1) + b"3\r\nabc", b"HTTP/1.1 200"),
    ],
)
async def test_malformed_requests_are_answered_once_and_not_logged(sent, answer):
    async with serve() as (_, port):
        got = await exchange(port, sent)

    assert got[:12] == answer


async def test_a_flood_of_trailers_is_not_accepted():
    async with serve() as (_, port):
        got = await exchange(port, CHUNKED + b"0\r\n" + b"a:\r\n" * 60_000 + b"\r\n")

    assert got[:12] in (b"", b"HTTP/1.1 400")  # the reset of a connection may overtake the response


async def test_small_chunks_and_many_headers_are_accepted_for_each_request():
    headers = b"".join(b"X-%d: a\r\n" % number for number in range(100))
    async with serve() as (_, port), connect(port) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + headers + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 400)
            writer.write(b"8000\r\n" + b"a" * 0x8000 + b"\r\n" + b"1\r\na\r\n" * 200 + b"0\r\n\r\n")
            async with asyncio.timeout(WITHIN_S):
                assert await reader.readuntil(b"\r\n\r\n33368") != b""


async def test_a_malformed_chunk_after_the_response_is_no_error():
    async with serve() as (_, port), connect(port) as (reader, writer):
        writer.write(CHUNKED.replace(b"/ ", b"/early ", 1) + b"3\r\nabc")
        got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), WITHIN_S)
        writer.write(b"\r\nzz\r\n")
        rest = await asyncio.wait_for(reader.read(), WITHIN_S)

    assert (got[:12], rest) == (b"HTTP/1.1 200", b"")


async def test_an_upgrade_that_is_not_supported_is_ignored():
    async with serve() as (_, port):
        upgrade = b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n"
        got = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade)

    assert got.startswith(b"HTTP/1.1 200")


# ---------------------------------------------------------------- floods


async def test_idle_connections_make_room_for_a_request():
    async with serve(replace(LIMITS, header_timeout_s=60)) as (embedded, port), contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connect(port)) for _ in range(12)]

        assert (await get(port)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(idle[0][0].read(), WITHIN_S) == b""
        assert len(embedded.registry) <= 8


async def test_a_full_server_refuses_a_connection_and_recovers():
    limits = replace(LIMITS, max_connections=2)
    with structlog.testing.capture_logs() as lines:
        async with serve(limits) as (_, port), connect(port) as (first, one), connect(port) as (second, two):
            one.write(HOLD)
            two.write(HOLD)
            await asyncio.sleep(0.05)
            refused = await exchange(port, GET)
            answers = [await asyncio.wait_for(reader.readline(), WITHIN_S) for reader in (first, second)]
            again = await get(port)

    assert refused == b""
    assert [answer[:12] for answer in (*answers, again)] == [b"HTTP/1.1 200"] * 3
    assert [line["action"] for line in lines] == ["http.refused"]


async def test_without_file_descriptors_one_line_is_logged_and_later_clients_are_served(monkeypatch):
    monkeypatch.setattr(server, "ACCEPT_RETRY_S", 0.001)
    loop = asyncio.get_running_loop()
    accept, errors = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED, *[errno.ENFILE] * 20]

    async def fail(listener):
        if errors:
            code = errors.pop()
            raise OSError(code, "no")
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", fail)
    with structlog.testing.capture_logs() as lines:
        async with serve() as (_, port):
            answer = await get(port)

    assert answer.startswith(b"HTTP/1.1 200")
    assert [(line["action"], line["error"]) for line in lines] == [("http.accept_failed", "no")]


async def test_no_more_connections_are_accepted_than_files_can_be_open(monkeypatch):
    monkeypatch.setattr(server, "max_open_files", lambda: 300)
    async with serve(ConnectionLimits()) as (embedded, _):
        pass

    assert embedded.registry.limits.max_connections == 300 - server.RESERVED_FILES
