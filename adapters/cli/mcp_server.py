"""Serves `easel mcp`. Stdout carries the protocol alone; logs go to the data directory."""

import asyncio
import gc
import os
import queue
import stat
import sys
import threading
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError
from pydantic_core import from_json

from adapters.cli.client.mcp_backends import BackendOnDemand, open_backend
from adapters.cli.client.open import find_server
from adapters.cli.error_output import BadInput
from adapters.cli.image_files import read_image_file
from adapters.cli.output import printable
from adapters.cli.ports import CompositionRoot, LoadedConfig
from adapters.mcp.library_log import confine_library_log
from adapters.mcp.message_check import CheckedMessage, check_message, refuse_length
from adapters.mcp.tool_backend import Body
from adapters.mcp.tool_calls import ToolCalls
from adapters.mcp.tool_server import ListCommands, build_server
from adapters.web.views import command_json
from bot.commands import COMMANDS
from bot.runtime.lock import read_holder
from bot.runtime.lock_requests import LockOffer
from bot.settings.core import ImagesSettings

MAX_LINE = 64 * 2**20
"""Bytes of a message; longer ones are refused."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".heic", ".heif", ".bmp", ".tif", ".tiff")
ANSWER_S = 0.5
"""How long the end waits for answers to requests that are no calls of tools."""
CLOSE_S = 10.0


async def serve_stdio(composition: CompositionRoot, loaded: LoadedConfig) -> int:
    """Until the program closes stdin, or a signal. Its jobs are left to the server, or to the next one."""
    confine_library_log()
    backends = BackendOnDemand(lambda: open_backend(composition, loaded), LockOffer(loaded.data_dir))
    calls = ToolCalls(
        open_backend=backends.use,
        wait_s=loaded.settings["web"].mcp_wait_s,
        read_file=FileReader(loaded.settings["images"]),
    )
    connection = StdioConnection(calls, lambda: _list_commands(backends, loaded))
    serving = asyncio.create_task(connection.serve())
    try:
        await asyncio.shield(serving)
    finally:
        connection.is_ending = True
        serving.cancel()
        await asyncio.wait([serving])
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await calls.finish()
        await backends.close()
        gc.freeze()  # or the interpreter spends a second on collecting what ends with it
    return 0


class StdioConnection:
    """Serves the tools over stdin and stdout. `is_ending`: by a signal."""

    def __init__(self, calls: ToolCalls, list_commands: ListCommands) -> None:
        self.is_ending = False
        unanswered = UnansweredRequests()
        self._incoming: Any = StdinLines(_reopen(sys.stdin.fileno(), "rb"), unanswered)
        self._outgoing: Any = StdoutLines(_reopen(sys.stdout.fileno(), "wb"), unanswered)
        self._server = build_server(calls, list_commands, version("easel"), lambda _call: self._has_ended())

    def _has_ended(self) -> bool:
        return self.is_ending or self._incoming.has_ended or self._outgoing.has_ended

    async def serve(self) -> None:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no message
        async with stdio_server(stdin=self._incoming, stdout=self._outgoing) as (incoming, outgoing):
            self._incoming.answer = lambda refusal: outgoing.send(SessionMessage(refusal))
            await self._server.run(incoming, outgoing, self._server.create_initialization_options())


def _reopen(descriptor: int, mode: str) -> Any:
    """A file of its own. Python's has a lock that a blocked thread still holds when the interpreter closes it."""
    return os.fdopen(os.dup(descriptor), mode)


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
        refused = BadInput(f"{shown} is not read: only image files ({', '.join(SUFFIXES)}) are.")
        if path.suffix.casefold() not in SUFFIXES:
            raise refused
        if not path.is_absolute():
            raise BadInput(f"{shown} is not an absolute path.")
        try:
            path = Path(os.path.realpath(path))
            if path.suffix.casefold() not in SUFFIXES:  # the name of a link says nothing about its file
                raise refused
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
    """Messages of stdin, a line each, read in a thread of their own: a read that waits for the program does not delay
    the end. Lines that are no messages are answered here."""

    def __init__(self, stream: BinaryIO, unanswered: "UnansweredRequests") -> None:
        self._stream = stream
        self._unanswered = unanswered
        self._lines: asyncio.Queue[tuple[str, CheckedMessage] | None] = asyncio.Queue(maxsize=16)
        self.answer: Callable[[JSONRPCError], Awaitable[None]]
        self.has_ended = False

    async def __aiter__(self) -> AsyncIterator[str]:
        """Ends after stdin, once the quick requests are answered."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True, name="stdin").start()
        while (read := await self._lines.get()) is not None:
            line, checked = read
            if checked.refusal is not None:
                await self.answer(checked.refusal)
                continue
            if checked.quick_id is not None:
                self._unanswered.add(checked.quick_id)
            yield line
        self.has_ended = True
        await self._unanswered.wait(ANSWER_S)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(Exception):  # the loop has ended
            while line := self._stream.readline(MAX_LINE):
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    self._skip_rest()
                    self._put(loop, ("", CheckedMessage(refuse_length(MAX_LINE))))
                elif line := line.removeprefix(BOM_UTF8).strip():
                    self._put(loop, (line.decode("utf-8", "replace"), check_message(line)))
            self._put(loop, None)

    def _skip_rest(self) -> None:
        while (rest := self._stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass

    def _put(self, loop: asyncio.AbstractEventLoop, read: tuple[str, CheckedMessage] | None) -> None:
        asyncio.run_coroutine_threadsafe(self._lines.put(read), loop).result()


class StdoutLines:
    """Messages to stdout, written in a thread of their own: one that nobody reads does not delay the end."""

    def __init__(self, stream: BinaryIO, unanswered: "UnansweredRequests") -> None:
        self._stream = stream
        self._unanswered = unanswered
        self._texts: queue.SimpleQueue[tuple[bytes, Callable[[], None]]] = queue.SimpleQueue()
        self.has_ended = False
        threading.Thread(target=self._write, daemon=True, name="stdout").start()

    async def write(self, text: str) -> None:
        loop, is_written = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(is_written.set)

        self._texts.put((text.encode(), notify))
        await is_written.wait()
        self._unanswered.discard(from_json(text).get("id"))

    async def flush(self) -> None:
        """Each message is flushed already."""

    def _write(self) -> None:
        while True:
            text, notify = self._texts.get()
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # the program is gone, and closes stdin as well
                self.has_ended = True
            notify()


class UnansweredRequests:
    """Ids of the quick requests whose answers are not written yet."""

    def __init__(self) -> None:
        self._ids: set[str | int] = set()
        self._are_answered = asyncio.Event()

    def add(self, request_id: str | int) -> None:
        self._ids.add(request_id)

    def discard(self, request_id: str | int | None) -> None:
        self._ids -= {request_id}
        if not self._ids:
            self._are_answered.set()

    async def wait(self, seconds: float) -> None:
        """Until they are, or so long."""
        self._are_answered.clear()
        if self._ids:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._are_answered.wait(), seconds)
