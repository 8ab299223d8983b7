"""Serves `easel mcp`. Stdout carries the protocol alone; logs go to the data directory."""

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from mcp.server.stdio import stdio_server

from adapters.cli.client.mcp_backends import BackendOnDemand, open_backend
from adapters.cli.client.open import find_server
from adapters.cli.error_output import BadInput
from adapters.cli.image_files import read_image_file
from adapters.cli.output import printable
from adapters.cli.ports import CompositionRoot, LoadedConfig
from adapters.mcp.library_log import confine_library_log
from adapters.mcp.tool_backend import Body
from adapters.mcp.tool_calls import ToolCalls
from adapters.mcp.tool_server import build_server
from adapters.web.views import command_json
from bot.commands import COMMANDS
from bot.runtime.lock import read_holder
from bot.settings.core import ImagesSettings

MAX_LINE = 64 * 2**20
"""Bytes of a message; longer ones are refused."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".heic", ".heif", ".bmp", ".tif", ".tiff")
CLOSE_S = 10.0


async def serve_stdio(composition: CompositionRoot, loaded: LoadedConfig) -> int:
    """Until the program closes stdin, or a signal."""
    confine_library_log()
    backends = BackendOnDemand(lambda: open_backend(composition, loaded))
    calls = ToolCalls(
        open_backend=backends.use,
        wait_s=loaded.settings["web"].mcp_wait_s,
        read_file=FileReader(loaded.settings["images"]),
    )
    server = build_server(calls, lambda: _list_commands(backends, loaded), version("easel"))
    lines: Any = StdinLines(sys.stdin.buffer)
    try:
        async with stdio_server(stdin=lines) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await calls.finish()
        await backends.close()
    return 0


async def _list_commands(backends: BackendOnDemand, loaded: LoadedConfig) -> list[Body]:
    """Of the server, if one is running; otherwise by the settings, without starting models."""
    if await asyncio.to_thread(read_holder, loaded.data_dir) and await find_server(loaded.data_dir):
        async with backends.use() as backend:
            return await backend.list_commands()
    styles = list(loaded.settings.get("styles", {}))
    return [command_json(command, loaded.models, styles) for command in COMMANDS.values()]


class FileReader:
    """Reads images by path, as the person's program asks: regular files with an image's ending, whose content is
    decoded as an image before anything of it is answered."""

    def __init__(self, limits: ImagesSettings) -> None:
        self._limits = limits

    def __call__(self, name: str) -> bytes:
        """Raises: BadInput, TooLarge, UnsupportedMedia."""
        path = _to_path(name)
        shown = printable(name[:200])
        if path.suffix.casefold() not in SUFFIXES:
            raise BadInput(f"{shown} is not read: only image files ({', '.join(SUFFIXES)}) are.")
        if not path.is_absolute():
            raise BadInput(f"{shown} is not an absolute path.")
        try:
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError) as error:
            raise BadInput(f"{shown} does not exist or cannot be read.") from error
        if not is_file:
            raise BadInput(f"{shown} is no file.")
        return read_image_file(str(path), self._limits.max_upload_mb, self._limits.max_heic_mb)


def _to_path(name: str) -> Path:
    if name.casefold().startswith("file:"):
        name = unquote(urlsplit(name).path)
    with suppress(RuntimeError):  # no home folder
        return Path(name).expanduser()
    return Path(name)


class StdinLines:
    """Lines of stdin, read in a thread of their own: a read that waits for the program does not delay the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(maxsize=16)

    async def __aiter__(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True, name="stdin").start()
        while (line := await self._lines.get()) is not None:
            yield line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(Exception):  # the loop has ended
            while line := self._stream.readline(MAX_LINE):
                is_whole = line.endswith(b"\n")
                while not is_whole and (rest := self._stream.readline(MAX_LINE)):
                    is_whole, line = rest.endswith(b"\n"), b""
                self._put(loop, line.decode("utf-8", "replace"))
            self._put(loop, None)

    def _put(self, loop: asyncio.AbstractEventLoop, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._lines.put(line), loop).result()
