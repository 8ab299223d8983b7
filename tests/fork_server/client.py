"""Starts a fork server, and programs in it."""

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
IS_SUPPORTED = hasattr(os, "pidfd_open") and os.environ.get("EASEL_TEST_REAL_START") != "1"
"""On Linux, unless somebody wants to know whether it makes a difference."""
PARENT = "PARENT"
"""Stands in a program's arguments for the process id of its parent, the fork server."""


@dataclass(frozen=True)
class Forks:
    """Addresses of the fork servers for a program and, by module, for its own children. Others have the real start."""

    program: str = ""
    children: Mapping[str, str] = field(default_factory=dict)


REAL_START = Forks()


class ForkServer:
    """One running `python -m tests.fork_server.server PRELOAD`. Requests made while it still imports wait."""

    def __init__(self, preload: str, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.mkdtemp(prefix="easel-fork-")
        self.address = f"{self._folder}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server.server", preload, str(listener.fileno())],
                cwd=ROOT,
                env={**environ, "OPENBLAS_NUM_THREADS": "1"},  # a fork copies no other thread
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        RUNNING.append(self)
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        return self._process.pid

    def used_s(self) -> float:
        """Processor seconds of its imports and of all programs that have ended."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:4]))

    def close(self) -> None:
        """Its programs end, too."""
        if self in RUNNING:
            RUNNING.remove(self)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            shutil.rmtree(self._folder)


RUNNING: list[ForkServer] = []


def request(address: str, files: Sequence[int], **program: Any) -> tuple[socket.socket, int]:
    """A new program's connection, which it dies with, and its process id."""
    program["ignores_sigint"] = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(program).encode() + b"\n"], files)
        return connection, int(receive(connection)["pid"])
    except BaseException:
        connection.close()
        raise


def receive(connection: socket.socket) -> dict[str, Any]:
    """What the fork server says next. Raises: ConnectionError, when it is gone."""
    line = b""
    while not line.endswith(b"\n"):
        line += (part := connection.recv(1))
        if not part:
            raise ConnectionResetError("the fork server is gone")
    answer: dict[str, Any] = json.loads(line)
    return answer


def receive_status(connection: socket.socket) -> int:
    """A program's exit status; that of a killed one, when the fork server is gone, which kills all of them."""
    try:
        return int(receive(connection)["status"])
    except ConnectionError:
        return -signal.SIGKILL


class ForkedProcess:
    """Handled like a `subprocess.Popen`, in a session of its own."""

    def __init__(
        self,
        forks: Forks,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        output: IO[Any],
        errors: IO[Any],
        has_input: bool,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        if has_input:
            incoming, outgoing = os.pipe()
            self.stdin = open(outgoing, "wb", buffering=0)  # noqa: SIM115
        else:
            incoming = os.open(os.devnull, os.O_RDONLY)
        try:
            self._connection, self.pid = request(
                forks.program,
                [incoming, output.fileno(), errors.fileno()],
                arguments=self.args,
                environ=dict(env),
                cwd=str(cwd),
                session=True,
                children=dict(forks.children),
            )
        finally:
            os.close(incoming)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = receive_status(self._connection)
        self._connection.close()


def start(
    arguments: Sequence[str],
    forks: Forks = REAL_START,
    *,
    env: Mapping[str, str],
    output: IO[Any],
    errors: IO[Any] | None = None,
    cwd: Path = ROOT,
    has_input: bool = False,
) -> "ForkedProcess | subprocess.Popen[bytes]":
    """What `python ARGUMENTS` starts, in a session of its own. `has_input`: its stdin is a pipe."""
    if forks.program:
        return ForkedProcess(
            forks, arguments, env=env, cwd=cwd, output=output, errors=errors or output, has_input=has_input
        )
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
        stdout=output,
        stderr=errors or output,
        start_new_session=True,
        bufsize=0,
    )


def run(
    arguments: Sequence[str], forks: Forks = REAL_START, *, env: Mapping[str, str], cwd: Path, timeout: float
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run`, with what it printed. Raises: subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = start(arguments, forks, env=env, cwd=cwd, output=output, errors=errors)
        try:
            process.wait(timeout)
        finally:
            process.kill()
            status = process.wait()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(process.args, status, output.read(), errors.read())
