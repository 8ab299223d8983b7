"""Processes by session: children of a victim may have groups of their own, but never another session."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from composition.settings import ROOT

SILENT = {"PYTHONDONTWRITEBYTECODE": "1"}


class Victim:
    """A process in a session of its own, and all that it started. Its stdin stays open as long as we live."""

    def __init__(self, arguments: Sequence[str], output: Path, environ: dict[str, str] | None = None) -> None:
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, **(environ or {})},
            )
        self.pid = self._process.pid

    def kill(self) -> None:
        """SIGKILL to its whole process group. Its children with groups of their own must end by themselves."""
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
        """Living processes of its session."""
        return [pid for pid in psutil.pids() if _is_member(pid, self.pid)]

    def wait_until_gone(self, within_s: float) -> float | None:
        """Seconds until the last of the session was gone; None: somebody survived, and was killed now."""
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
