"""A child process seen from the parent: started clean, spoken to in messages, killed for certain.

Only asyncio and the standard library: nothing here blocks the event loop for longer than a fork.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import structlog

from inference.ipc import messages
from inference.ipc.environment import clean_environment

ROOT = Path(__file__).resolve().parents[2]
"""The clone. Children start here, so that they find the same packages and relative model folders."""

_log = structlog.get_logger("inference")
_LEVELS = frozenset({"debug", "info", "warning", "error"})
_DEATH_S = 10.0
_DUMP = ("Fatal Python error", "Timeout (")
_FRAMES_EACH = 6


class LastWords:
    """The native traceback that a dying or hung child leaves on stderr: the innermost frames of each thread.

    Nothing else of its raw output is kept, because that might quote a prompt.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._frames = 0

    def note(self, line: str) -> None:
        if line.startswith(_DUMP):
            self._lines = [line]
        elif line.startswith(("Thread 0x", "Current thread 0x")):
            self._frames = 0
            self._lines.append(line)
        elif line.startswith('  File "') and self._lines and self._frames < _FRAMES_EACH:
            self._frames += 1
            self._lines.append(line)

    def __str__(self) -> str:
        return "\n".join(self._lines[:60])


class ChildProcess:
    """One running `python -m MODULE`. Use `start`; `close` it in the end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._last_words = LastWords()
        self._logs = asyncio.create_task(self._copy_log(), name=f"log of {name}")

    @classmethod
    async def start(
        cls, name: str, module: str, *args: str, threads: int = 0, environ: Mapping[str, str] | None = None
    ) -> Self:
        """`environ`: all that it sees; a clean one, when not given. Raises: OSError."""
        group = {"process_group": 0} if os.name == "posix" else {}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(os.getpid()),
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
            cwd=ROOT,
            env=dict(environ) if environ is not None else clean_environment(os.environ, threads),
            **group,  # type: ignore[arg-type]
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of the native traceback it left on stderr, if any."""
        return str(self._last_words)

    def post(self, message: object) -> None:
        """Send without waiting; a message to a dead child is dropped, its death is told elsewhere."""
        stream = self._process.stdin
        if stream is not None and not stream.is_closing() and self._process.returncode is None:
            stream.write(messages.encode(message))

    async def receive(self) -> Any | None:
        """The child's next message, or None when there will be none any more.

        Raises: BadFrame.
        """
        assert self._process.stdout is not None
        try:
            header = await self._process.stdout.readexactly(messages.HEADER_SIZE)
            body = await self._process.stdout.readexactly(messages.body_length(header))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return messages.decode(body)

    def kill(self) -> None:
        """Not through asyncio: its `kill` first asks for the exit status, which the child watcher would then miss."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)

    async def close(self, grace_s: float = 0.0) -> int:
        """Let it end by itself within `grace_s`, then kill it. Returns its exit status."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            if not await self._ends_within(max(grace_s, 0.001)):
                self.kill()
                # One that hangs in a driver cannot be killed; its tasks must hear of it all the same.
                await self._ends_within(_DEATH_S)
        except asyncio.CancelledError:
            self.kill()
            await self._ends_within(_DEATH_S)  # else nobody reaps it
            self._logs.cancel()
            raise
        finally:
            self.kill()
        await asyncio.wait([self._logs], timeout=1.0)
        self._logs.cancel()
        return self._process.returncode or 0

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return self._process.returncode is not None

    async def _copy_log(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line over the limit: asyncio dropped it
                continue
            if not line:
                return
            self._note(line.decode(errors="replace").rstrip())

    def _note(self, line: str) -> None:
        self._last_words.note(line)
        fields = _parsed(line)
        level = str(fields.pop("level", "debug"))
        event = str(fields.pop("event", line))
        fields.pop("action", None)
        log = getattr(_log, level if level in _LEVELS else "debug")
        log(event, action="child_says", child=self.name, **fields)


def _parsed(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    with contextlib.suppress(ValueError):
        fields: Mapping[str, Any] = json.loads(line)
        return {str(name): value for name, value in fields.items() if name != "child"}
    return {}
