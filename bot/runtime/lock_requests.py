"""Asks the holder of the data lock to release it while it is idle: `easel mcp` keeps it for its next call, but not from
`easel serve` and other commands.

Both sides lock a file of their own, which the operating system releases when they end; the files have no content.
"""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bot.runtime.lock import open_lock_file, try_lock
from bot.runtime.private_files import NO_FOLLOW

OFFER_NAME, REQUEST_NAME = "easel.offer", "easel.request"
WAIT_S = 15.0
"""How long a server that starts waits for the holder to finish its jobs and to close."""
_POLL_S = 0.05


class _SideLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Does nothing if another process holds it. Raises: StartupError, OSError."""
        if self._handle is not None or not self._path.parent.is_dir():
            return
        handle = open_lock_file(self._path)
        if try_lock(handle):
            self._handle = handle
        else:
            os.close(handle)

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class LockOffer(_SideLock):
    """Held by a holder of the data lock that releases it if it `is_asked` while it is idle."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir / OFFER_NAME)
        self._request = data_dir / REQUEST_NAME

    def is_asked(self) -> bool:
        return _is_locked(self._request)


class LockRequest(_SideLock):
    """Held by a process that waits for the data lock. Several may wait: each acquires it repeatedly."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir / REQUEST_NAME)


def wait_for_offered_lock(data_dir: Path, seconds: float = WAIT_S) -> None:
    """Until a holder that offers the data lock has released it, or the time is up; blocks. Raises: StartupError."""
    deadline = time.monotonic() + seconds
    with LockRequest(data_dir) as request:
        while _is_locked(data_dir / OFFER_NAME) and time.monotonic() < deadline:
            request.acquire()
            time.sleep(_POLL_S)


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | NO_FOLLOW)
    except OSError:
        return False
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)
