"""Files of strangers: what is received is bounded, whatever was announced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from telegram.error import NetworkError, TimedOut

from adapters.telegram import file_request
from adapters.telegram.file_request import FileRequest
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


class EndlessFile:
    """A server whose file never ends. `sent` counts its bytes."""

    def __init__(self, chunk: bytes, pause_s: float) -> None:
        self._chunk = chunk
        self._pause_s = pause_s
        self.sent = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(self._chunk)
                await writer.drain()
                self.sent += len(self._chunk)
                await asyncio.sleep(self._pause_s)
        writer.close()


@asynccontextmanager
async def endless_file(chunk: bytes, pause_s: float = 0.0) -> AsyncIterator[EndlessFile]:
    file = EndlessFile(chunk, pause_s)
    server = await asyncio.start_server(file.answer, "127.0.0.1", 0)
    file.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file"
    try:
        yield file
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def file_client() -> AsyncIterator[FileRequest]:
    async with FileRequest(httpx_kwargs={"trust_env": False}) as request:
        yield request


async def test_a_file_is_not_read_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(file_request, "MAX_DOWNLOAD_MB", 1)
    async with endless_file(b"x" * 2**16) as file, file_client() as request:
        with pytest.raises(NetworkError, match="too large"):
            await request.retrieve(file.url)

    assert file.sent < 2**24


async def test_a_file_whose_bytes_keep_dripping_is_given_up(monkeypatch):
    monkeypatch.setattr(file_request, "DOWNLOAD_TIMEOUT_S", 0.1)
    async with endless_file(b"x", 0.01) as file, file_client() as request:
        with pytest.raises(TimedOut):
            await request.retrieve(file.url)


async def test_a_photo_that_was_announced_smaller_than_it_is_gets_a_sentence(app, chat, ann, monkeypatch):
    monkeypatch.setattr(file_request, "MAX_DOWNLOAD_MB", 0)
    app.state.send_photo(chat, ann, picture(71, 40, 40), "what is it?")

    await app.message_with(chat, "at most 10 MiB, or 20 in HEIC")
