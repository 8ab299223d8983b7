"""Uploads that are held open, many at a time, or more than their share of the disk."""

import asyncio
import contextlib
import logging
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx2
import pytest
import structlog
from sqlalchemy import select
from starlette.datastructures import Headers

from adapters.web import WebSettings
from adapters.web.problems import RequestRefused
from adapters.web.uploads import UploadReceiver, UploadSlots
from bot.errors import TooLarge
from bot.settings.core import QuotaSettings
from storage.schema import media_owner
from tests.web.api_client import problem, upload
from tests.web.conftest import SECRET, open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
END = b"\r\n--x--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
LIMITS = {"max_uploads": 3, "max_uploads_per_person": 2, "max_requests_per_key": 0}


@asynccontextmanager
async def hold_upload(
    url: str, key: str, size: int = 1000, *, waits: bool = True
) -> AsyncIterator[asyncio.StreamReader]:
    """An upload of which everything but the last byte was sent; `waits`: once the server has begun to read it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/v1/media HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(PART) + size + 1}\r\n"
    if waits:
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
    else:
        writer.write(f"{head}\r\n".encode())
    writer.write(PART + b"x" * size)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def upload_patiently(client: httpx2.AsyncClient, data: bytes) -> None:
    """Again while the machine is so busy that this one is given up too."""
    while (answer := await client.post("/api/v1/media", files={"file": data})).status_code == 408:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert answer.status_code == 201


def as_person(client: httpx2.AsyncClient, key: str) -> httpx2.AsyncClient:
    client.headers["Authorization"] = f"Bearer {key}"
    return client


async def test_one_person_cannot_hold_every_upload(easel, a_picture):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    url = await easel.serve(**LIMITS)
    async with hold_upload(url, ann), hold_upload(url, ann), open_client(easel) as client:
        refused = await as_person(client, ann).post("/api/v1/media", files={"file": a_picture})
        await upload(as_person(client, ben), a_picture)

    assert "under way" in problem(refused, 429, "too_many_requests")["detail"]
    assert refused.headers["retry-after"] == "2"


async def test_uploads_of_everybody_are_limited_and_an_aborted_one_makes_room(easel, a_picture):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    url = await easel.serve(**LIMITS)
    async with open_client(easel) as client:
        async with hold_upload(url, ann), hold_upload(url, ann), hold_upload(url, ben):
            refused = await as_person(client, ben).post("/api/v1/media", files={"file": a_picture})
        async with asyncio.timeout(30):
            while (await client.post("/api/v1/media", files={"file": a_picture})).status_code == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    assert refused.status_code == 429


async def test_an_upload_that_stops_is_given_up(easel, a_picture):
    key = await easel.create_key("ann")
    url = await easel.serve(body_timeout_s=0.1, **LIMITS)
    async with hold_upload(url, key, waits=False) as reader, open_client(easel) as client:
        async with asyncio.timeout(30):
            answer = await reader.read()
            for _ in range(3):
                await upload_patiently(as_person(client, key), a_picture)

    assert answer.startswith(b"HTTP/1.1 408")


async def test_nothing_of_an_upload_stays_beside_the_stored_picture(easel):
    await easel.serve()
    async with open_client(easel) as client:
        stored = await upload(client, picture(3, 700, 500))
        too_large = await client.post("/api/v1/media", content=PART + b"x" * 11 * 2**20 + END, headers=FORM)

    assert stored["width"] == 700
    problem(too_large, 413, "too_large")
    assert {path.name.partition("-")[0] for path in easel.data_dir.iterdir()} <= {"easel.db", "media"}


class HeldRequest:
    """A request whose body never ends."""

    client = None
    headers = Headers(FORM)

    def __init__(self, size: int) -> None:
        self.is_received = asyncio.Event()
        self._size = size

    async def stream(self) -> AsyncIterator[bytes]:
        yield PART
        for _ in range(self._size // 2**16):
            yield bytes(2**16)
        self.is_received.set()
        await asyncio.Event().wait()


async def test_uploads_that_are_held_open_are_not_in_memory(tmp_path):
    receiver = UploadReceiver(WebSettings(), tmp_path, 4 * 2**20)
    requests = [HeldRequest(2 * 2**20) for _ in range(4)]

    async def receive(request: HeldRequest) -> None:
        async with receiver.receive(request, "ann"):  # type: ignore[arg-type]
            pass

    tracemalloc.start()
    tasks = [asyncio.create_task(receive(request)) for request in requests]
    await asyncio.gather(*(request.is_received.wait() for request in requests))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert held < 2**20, "8 MB were received"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "size", "limit"),
    [
        (b"\x89PNG\r\n\x1a\n", 2000, None),
        (b"\x89PNG\r\n\x1a\n", 2001, 2000),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 2001, None),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", 4000, None),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 4001, 4000),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", 2001, 2000),
    ],
)
async def test_the_bytes_of_a_file_decide_how_large_it_may_be(tmp_path, start, size, limit):
    request = HeldRequest(0)
    body = PART.replace(b"a.png", b"a.heic") + start.ljust(size, b"x") + END
    pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
    request.stream = lambda: as_stream(pieces)  # type: ignore[method-assign]
    receiver = UploadReceiver(WebSettings(), tmp_path, 2000, 4000)

    if limit is None:
        async with receiver.receive(request, "ann") as data:  # type: ignore[arg-type]
            assert len(data) == size
        return
    with pytest.raises(TooLarge) as refused:
        async with receiver.receive(request, "ann"):  # type: ignore[arg-type]
            pass
    assert (refused.value.limit, refused.value.heic_limit) == (2000 / 2**20, 4000 / 2**20)


async def as_stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_slots_are_counted_by_person_and_by_address():
    slots = UploadSlots(in_all=9, per_person=1)
    with slots.hold("person ann", "address 192.0.2.1"):
        for names in (["person ann"], ["person ben", "address 192.0.2.1"]):
            with pytest.raises(RequestRefused), slots.hold(*names):
                pass
        with slots.hold("person ben", "address 192.0.2.2"):
            pass
    with slots.hold("person ann", "address 192.0.2.1"):
        pass


@pytest.mark.parametrize("path", ["/api/v1/media", "/api/v1/jobs", "/api/v1/quotes", "/internal/keys", "/", "/none"])
@pytest.mark.parametrize("rest", ["", "zz\r\n"], ids=["aborted", "malformed"])
async def test_an_aborted_chunked_body_leaves_no_traceback(shared_server, path, rest, caplog):
    host, port = shared_server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    kind = FORM["Content-Type"] if path.endswith("media") else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
    key = f"Authorization: Bearer {SECRET}\r\n\r\n"
    writer.write(f"{head}{key}5\r\n--x\r\n\r\n{rest}".encode())
    with structlog.testing.capture_logs() as lines:
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(reader.read(), 0.05)
        writer.close()
        async with open_client(shared_server) as client:
            assert (await client.get("/healthz")).status_code == 200

    assert lines == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# ---------------------------------------------------------------- allowance and requests


async def test_an_upload_beyond_the_allowance_is_refused_before_its_body_is_read(easel, a_picture, monkeypatch):
    key = await easel.create_key("ann")
    await easel.serve()
    monkeypatch.setitem(vars(easel.usecases.media), "quota", QuotaSettings(daily_upload_mb=0.0001))
    async with open_client(easel) as client:
        await upload(as_person(client, key), picture(1, 4, 4))
        stored = [await client.post("/api/v1/media", files={"file": picture(n, 48, 32)}) for n in range(2)]
        monkeypatch.setitem(vars(easel.usecases.media), "quota", QuotaSettings(daily_upload_mb=0.00001))
        unread = await client.post("/api/v1/media", content=b"not even a form")
        await easel.usecases.media.upload(await easel.usecases.people.local_person(), a_picture, source="web")

    for answer in (*stored, unread):
        details = problem(answer, 429, "quota_exceeded")
        assert details["unit"] == "MiB"
        assert 86_000 < int(answer.headers["retry-after"]) <= 86_400
    assert "of the last 24 hours" in details["detail"]


@pytest.mark.parametrize("disguise", ["{}", "   {}", "{}\r\nAuthorization: Bearer another"])
async def test_one_key_cannot_take_all_connections(easel, disguise):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    url = await easel.serve(max_requests_per_key=2)
    async with hold_upload(url, ann), hold_upload(url, disguise.format(ann)), open_client(easel) as client:
        answer = await as_person(client, ann).get("/api/v1/quota")
        other = await as_person(client, ben).get("/api/v1/quota")

    problem(answer, 429, "too_many_requests")
    assert "content-security-policy" in answer.headers
    assert other.status_code == 200


@pytest.mark.parametrize(("key", "source"), [(SECRET, "cli"), ("ann", "web"), (None, "web")])
async def test_an_upload_is_known_to_come_from_the_page_or_the_command_line(easel, a_picture, key, source):
    if key == "ann":
        key = await easel.create_key("ann")
    await easel.serve()
    async with open_client(easel) as client:
        await upload(as_person(client, key) if key else client, a_picture)
    sources = await easel.storage.media._database.run_read(lambda tx: tx.scalars(select(media_owner.c.source)).all())

    assert sources == [source]
