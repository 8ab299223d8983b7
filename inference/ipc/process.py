"""The parent's handle of a child process: starts it with a clean environment, exchanges messages, makes sure it ends.

Nothing here blocks the event loop for longer than a fork.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Self

import structlog

from inference.ipc import messages
from inference.ipc.environment import ROOT, clean_environment

_log = structlog.get_logger("inference")
_LEVELS = frozenset({"debug", "info", "warning", "error"})
_ACTION = re.compile(r"[a-z_]{1,40}")
_KILL_TIMEOUT_S = 10.0
_TRACE_STARTS = ("Fatal Python error", "Timeout (")
_FRAMES_PER_THREAD = 6


class CrashTrace:
    """The native traceback that a crashed or hung child writes to stderr: the innermost frames of each thread.

    Other raw output is dropped, because it could quote a prompt.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._frames = 0

    def add_line(self, line: str) -> None:
        if line.startswith(_TRACE_STARTS):
            self._lines = [line]
        elif line.startswith(("Thread 0x", "Current thread 0x")):
            self._frames = 0
            self._lines.append(line)
        elif line.startswith('  File "') and self._lines and self._frames < _FRAMES_PER_THREAD:
            self._frames += 1
            self._lines.append(line)

    def __str__(self) -> str:
        return "\n".join(self._lines[:60])


class ChildProcess:
    """One running `python -m MODULE`. Create it with `start` and `close` it."""

    spawn: ClassVar[Callable[..., Awaitable[asyncio.subprocess.Process]]] = asyncio.create_subprocess_exec
    """Creates the process; tests put a fork of one that has imported torch in its place."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._crash_trace = CrashTrace()
        self._log_task = asyncio.create_task(self._copy_log(), name=f"log of {name}")

    @classmethod
    async def start(
        cls, name: str, module: str, *args: str, threads: int = 0, environ: Mapping[str, str] | None = None
    ) -> Self:
        """`environ`: its whole environment; by default a clean copy of ours. Raises: OSError."""
        group = {"process_group": 0} if os.name == "posix" else {}
        process = await cls.spawn(
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
            **group,
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def crash_trace(self) -> str:
        """The end of the native traceback on its stderr, if any."""
        return str(self._crash_trace)

    def send(self, message: object) -> None:
        """Send without waiting; a message to a dead child is dropped, as `receive` reports its end."""
        stream = self._process.stdin
        if stream is not None and not stream.is_closing() and self._process.returncode is None:
            stream.write(messages.encode_frame(message))

    async def receive(self) -> Any | None:
        """The child's next message, or None after its last one.

        Raises: BadFrame.
        """
        assert self._process.stdout is not None
        try:
            header = await self._process.stdout.readexactly(messages.HEADER_SIZE)
            body = await self._process.stdout.readexactly(messages.body_length(header))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return messages.decode_body(body)

    def kill(self) -> None:
        """Not through asyncio: its `kill` first asks for the exit status, which the child watcher would then miss."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)

    async def close(self, grace_s: float = 0.0) -> int:
        """Wait up to `grace_s` for it to end by itself, then kill it. Returns its exit status."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            if not await self._exits_within(max(grace_s, 0.001)):
                self.kill()
                # A process that hangs in a driver cannot be killed; its tasks must end nevertheless.
                await self._exits_within(_KILL_TIMEOUT_S)
        except asyncio.CancelledError:
            self.kill()
            await self._exits_within(_KILL_TIMEOUT_S)  # otherwise it stays a zombie
            self._log_task.cancel()
            raise
        finally:
            self.kill()
        await asyncio.wait([self._log_task], timeout=1.0)
        self._log_task.cancel()
        return self._process.returncode or 0

    async def _exits_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return self._process.returncode is not None

    async def _copy_log(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # asyncio dropped a line over the limit
                continue
            if not line:
                return
            self._log_line(line.decode(errors="replace").rstrip())

    def _log_line(self, line: str) -> None:
        self._crash_trace.add_line(line)
        fields = _parse_log_line(line)
        level = str(fields.pop("level", "debug"))
        event = str(fields.pop("event", line))
        action = str(fields.pop("action", ""))
        log = getattr(_log, level if level in _LEVELS else "debug")
        log(event, action=action if _ACTION.fullmatch(action) else "child_says", child=self.name, **fields)


def _parse_log_line(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    with contextlib.suppress(ValueError):
        fields: Mapping[str, Any] = json.loads(line)
        return {str(name): value for name, value in fields.items() if name != "child"}
    return {}
