"""The lock on a data directory: only one process works on a database.

`easel.lock` contains the server's loopback URL and a secret (mode 0600), which let one-shot commands go through the
server. The operating system releases the lock when its holder dies; the content is then stale and ignored. `easel
update` holds the lock and delegates it to the commands that it starts.
"""

import errno
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
from bot.runtime.private_files import FILE_MODE, NO_FOLLOW, make_private_folder, restrict_access
from bot.runtime.update_journal import DELEGATED_BY, read_journal

FILE_NAME = "easel.lock"
TRY_S = 0.3
"""Time to retry: a reader holds the lock briefly while it checks for a holder."""


@dataclass(frozen=True)
class LockHolder:
    """The holder of the lock. `url` is empty until the page is ready, and for one-shot commands; `pid` is 0 if the file
    cannot be read.
    """

    pid: int
    url: str
    secret: str


class DataLock:
    """Held from `acquire` to `release`; leaving the `with` block releases it.

    A lock that was delegated to this process counts as its own. `for_update`: acquire it despite an interrupted update.

    Raises (acquire): StartupError: another process holds it, or an update was interrupted.
    """

    def __init__(self, data_dir: Path, *, for_update: bool = False) -> None:
        self._path = data_dir / FILE_NAME
        self._handle: int | None = None
        self._for_update = for_update
        self._is_delegated = False
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
        """The open file. If child processes inherit it, the lock is held until the last of them has ended."""
        return self._handle

    def acquire(self) -> None:
        self._is_delegated = is_delegated(self._path.parent)
        if self._is_delegated:
            return
        make_private_folder(self._path.parent)
        handle = open_lock_file(self._path)
        if not _try_lock_for(handle, TRY_S):
            os.close(handle)
            raise StartupError(_already_locked(self._path.parent))
        restrict_access(self._path)
        self._handle = handle
        self.publish_url("")
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
                "An update of Easel was interrupted, and code and database may not match: run `python main.py update` "
                f"in {journal.root}, which first rolls the update back."
            )

    def publish_url(self, url: str) -> None:
        """Write the holder over the old content in one write; spaces cover the rest of a longer one."""
        if self._is_delegated:
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


def open_lock_file(path: Path) -> int:
    """Raises: StartupError, OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StartupError(link_sentence(path)) from error
        raise


def link_sentence(path: Path) -> str:
    return f"{path} is a link, which Easel does not follow: delete it."


def changed_sentence(data_dir: Path) -> str:
    return (
        f"{data_dir / FILE_NAME} was changed by another program, so the server cannot be used from here: "
        "restart the server, which writes the file again."
    )


def is_delegated(data_dir: Path) -> bool:
    """Whether the lock is delegated to this process: its holder is named in `DELEGATED_BY` and is its parent."""
    delegator = os.environ.get(DELEGATED_BY, "")
    if not delegator.isdecimal():
        return False
    holder = read_holder(data_dir)
    return holder is not None and holder.pid == int(delegator) and _is_parent(holder.pid)


def _is_parent(pid: int) -> bool:
    return pid == os.getppid() or os.name == "nt"  # on Windows a venv's python.exe is in between


def read_holder(data_dir: Path) -> LockHolder | None:
    """The current holder; None: the lock is free."""
    path = data_dir / FILE_NAME
    try:
        handle = os.open(path, os.O_RDWR | NO_FOLLOW)
    except OSError:
        return None
    try:
        deadline = time.monotonic() + TRY_S
        while not try_lock(handle):
            holder = _read(handle)
            if holder is not None or time.monotonic() > deadline:
                return holder or LockHolder(0, "", "")
            time.sleep(0.02)
        return None
    finally:
        os.close(handle)


def _read(handle: int) -> LockHolder | None:
    """None: the holder has not written it yet, or the content is damaged."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        content = json.loads(os.read(handle, 1 << 16))
        return LockHolder(int(content["pid"]), str(content["url"]), str(content["secret"]))
    except (ValueError, KeyError, TypeError):
        return None


def _try_lock_for(handle: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not try_lock(handle):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _already_locked(data_dir: Path) -> str:
    holder = read_holder(data_dir)
    who = f"process {holder.pid}" if holder and holder.pid else "another process"
    at = f" at {holder.url}" if holder and holder.url else ""
    return f"Easel is already running on {data_dir} ({who}{at}). Stop it, or set another EASEL_DATA_DIR."


if sys.platform == "win32":
    import msvcrt

    def try_lock(handle: int) -> bool:
        try:
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
