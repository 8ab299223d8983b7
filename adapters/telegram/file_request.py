"""Downloads files of Telegram with limits on what is received and how long it takes.

The library reads a whole response into memory, whatever its announced size, and waits for as long as bytes keep coming.
"""

import asyncio
from typing import Any

import httpx
from telegram.error import NetworkError, TimedOut
from telegram.request import HTTPXRequest

MAX_DOWNLOAD_MB = 20
"""The Bot API's limit for downloads."""
DOWNLOAD_TIMEOUT_S = 60.0


class FileRequest(HTTPXRequest):
    """The library sends GET for files only."""

    async def do_request(self, url: str, method: str, *args: Any, **more: Any) -> tuple[int, bytes]:
        if method != "GET":
            return await super().do_request(url, method, *args, **more)
        try:
            async with asyncio.timeout(DOWNLOAD_TIMEOUT_S), self._client.stream(method, url) as response:
                return response.status_code, await _read_file(response)
        except TimeoutError as error:
            raise TimedOut from error
        except httpx.HTTPError as error:
            raise NetworkError(f"httpx.{type(error).__name__}") from error


async def _read_file(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MAX_DOWNLOAD_MB * 2**20:
            raise NetworkError("the file is too large")
    return bytes(data)
