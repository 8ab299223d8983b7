"""Processes by session: children of a server may have groups of their own, but never another session."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.fork_server import client
from tests.fork_server.client import REAL_START, Forks


class ServerProcess:
    """A process in its own session, with its children. Its stdin stays open as long as this process runs."""

    def __init__(
        self, arguments: Sequence[str], output: Path, environ: dict[str, str] | None = None, forks: Forks = REAL_START
    ) -> None:
        with output.open("ab") as file:
            env = {**os.environ, **(environ or {})}
            self._process = client.start(arguments, forks, env=env, output=file, has_input=True)
        self.pid = self._process.pid

    def kill(self) -> None:
        """Send SIGKILL to its process group. Children in other groups must end by themselves."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Its exit status. Raises: subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def family(self) -> list[int]:
        """Running processes of its session."""
        return [pid for pid in psutil.pids() if _is_member(pid, self.pid)]

    def wait_until_gone(self, within_s: float) -> float | None:
        """Seconds until the session's last process ended; None: some survived and were killed now."""
        began = time.monotonic()
        while family := self.family():
            if time.monotonic() - began > within_s:
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return None
            time.sleep(0.02)
        return time.monotonic() - began

    def close(self) -> None:
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.wait_until_gone(0)


def _is_member(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.Error):
        return False
