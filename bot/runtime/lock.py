"""The lock on a data directory: exactly one process works on a database.

`easel.lock` holds the server's loopback URL and a local secret (mode 0600), so that one-shot commands can go through
the server. The operating system frees the lock when its holder dies, however it dies; the content is then stale and
is not believed. `easel update` holds the lock and lends it to the commands that it starts.
"""

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bot.errors import StartupError
from bot.runtime.update_journal import LENT_BY, read_journal

FILE_NAME = "easel.lock"
TRY_S = 0.3
"""A reader holds the lock for an instant while it asks whether anybody does."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. `url` is empty until the page is up, and for one-shot commands."""

    pid: int
    url: str
    secret: str


class DataLock:
    """Held from `acquire` to `release`; leaving the `with` block releases.

    A lock that was lent to this process is as good as its own. `for_update`: take it although an update was cut short.

    Raises (acquire): StartupError naming the holder, or an update that was cut short.
    """

    def __init__(self, data_dir: Path, *, for_update: bool = False) -> None:
        self._path = data_dir / FILE_NAME
        self._handle: int | None = None
        self._for_update = for_update
        self._is_lent = False
        self.secret = secrets.token_urlsafe(32)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def handle(self) -> int | None:
        """The open file, for children: where they inherit it, the lock stays taken until the last one has ended."""
        return self._handle

    def acquire(self) -> None:
        self._is_lent = is_lent(self._path.parent)
        if self._is_lent:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if not _try_lock_for(handle, TRY_S):
            os.close(handle)
            raise StartupError(_taken(self._path.parent))
        os.chmod(self._path, 0o600)
        self._handle = handle
        self.publish("")
        if not self._for_update:
            self._refuse_half_updated()

    def _refuse_half_updated(self) -> None:
        try:
            journal = read_journal(self._path.parent)
        except StartupError:
            self.release()
            raise
        if journal is not None:
            self.release()
            raise StartupError(
                "An update of Easel was cut short, and code and database may not fit together: run `python main.py "
                f"update` in {journal.root}, which first puts everything back as it was."
            )

    def publish(self, url: str) -> None:
        """Write who holds it, over the old content in one go: spaces cover what was longer."""
        if self._is_lent:
            return
        assert self._handle is not None
        content = json.dumps({"pid": os.getpid(), "url": url, "secret": self.secret}).encode()
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, content.ljust(os.fstat(self._handle).st_size))

    def release(self) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def is_lent(data_dir: Path) -> bool:
    """Whether the holder of the lock lends it to this process: it is named in LENT_BY, and its parent."""
    lender = os.environ.get(LENT_BY, "")
    if not lender.isdecimal():
        return False
    holder = read_holder(data_dir)
    return holder is not None and holder.pid == int(lender) and _is_parent(holder.pid)


def _is_parent(pid: int) -> bool:
    return pid == os.getppid() or os.name == "nt"  # on Windows a venv's python.exe stands between


def read_holder(data_dir: Path) -> Holder | None:
    """The living holder, or None when nobody holds the lock."""
    path = data_dir / FILE_NAME
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        deadline = time.monotonic() + TRY_S
        while not _try_lock(handle):
            holder = _read(handle)
            if holder is not None or time.monotonic() > deadline:
                return holder or Holder(0, "", "")
            time.sleep(0.02)
        return None
    finally:
        os.close(handle)


def _read(handle: int) -> Holder | None:
    """None: the holder has not written yet, or the content is damaged."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        content = json.loads(os.read(handle, 1 << 16))
        return Holder(int(content["pid"]), str(content["url"]), str(content["secret"]))
    except (ValueError, KeyError, TypeError):
        return None


def _try_lock_for(handle: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _try_lock(handle):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _taken(data_dir: Path) -> str:
    holder = read_holder(data_dir)
    who = f"process {holder.pid}" if holder and holder.pid else "another process"
    at = f" at {holder.url}" if holder and holder.url else ""
    return f"Easel already works on {data_dir} ({who}{at}). Stop it first, or give this one its own EASEL_DATA_DIR."


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
