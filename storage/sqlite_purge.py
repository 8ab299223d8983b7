"""Purges deleted data from an SQLite database: `secure_delete` alone leaves it in three places.

- FTS5 keeps the words of deleted rows until all segments that contain them are merged.
- The write-ahead log keeps old pages until it is truncated.
- When SQLite moves rows to another page, their old copies stay in the unused space of the first one, and no later
  deletion reaches them. This space is overwritten in the file, under the write lock and while the log is empty.

`user_version` records in the database itself whether a purge is needed, so a crash does not lose it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from storage.dialect import PurgeState
from storage.page_format import HEADER_SIZE, MAX_PAGES, has_pointer_maps, page_size, unused_ranges

NEEDED, RUNNING, CLEAN = 0, 1, 2
"""Values of `user_version`. A database that was never purged has 0."""
MERGE_PAGES = 32
"""Pages of the full-text index written per step."""
SCRUB_BYTES = 4 << 20
"""Bytes of the file examined per step."""
READER_WAIT_MS = 50
"""Wait for short readers before the log is truncated; writers wait as long."""


class _Phase(Enum):
    IDLE = "idle"
    MERGING = "merging"
    SCRUBBING = "scrubbing"


class SqlitePurge:
    """All methods but `close` run in the writer's thread, outside transactions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._file: int | None = None
        self._phase = _Phase.IDLE
        self._offset = 0

    def close(self) -> None:
        """Call after all connections are closed: closing any handle drops the process's POSIX locks on the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def step(self, connection: sqlite3.Connection) -> PurgeState:
        match self._phase:
            case _Phase.IDLE if not needs_purge(connection):
                return PurgeState.CLEAN if self._truncate_log(connection) else PurgeState.BLOCKED
            case _Phase.IDLE:
                self._begin(connection)
            case _Phase.MERGING:
                if not _merge(connection, MERGE_PAGES):
                    self._phase, self._offset = _Phase.SCRUBBING, 0
            case _Phase.SCRUBBING:
                if not self._scrub(connection):
                    return PurgeState.BLOCKED
        return PurgeState.MORE

    def _begin(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            connection.execute(f"PRAGMA user_version = {RUNNING}")
        _merge(connection, -MERGE_PAGES)  # negative: all segments are to be merged
        self._phase = _Phase.MERGING

    def _scrub(self, connection: sqlite3.Connection) -> bool:
        """Overwrite unused space in the next part of the file. False: a reader prevents it."""
        if not self._truncate_log(connection):
            return False
        with _transaction(connection):
            if self._log_size():  # another program has written since
                return True
            is_last = self._scrub_part()
            if is_last and _version(connection) == RUNNING:  # else there were deletions since
                connection.execute(f"PRAGMA user_version = {CLEAN}")
        connection.execute("PRAGMA shrink_memory")  # cached pages would bring the old bytes back
        if is_last:
            self._phase = _Phase.IDLE
        return True

    def _scrub_part(self) -> bool:
        """Returns whether it was the last part."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        header = _read(self._file, HEADER_SIZE, 0)
        size = page_size(header)
        if has_pointer_maps(header) or os.fstat(self._file).st_size // size >= MAX_PAGES:
            return True
        part = memoryview(_read(self._file, SCRUB_BYTES, self._offset))
        for start in range(0, len(part) - size + 1, size):
            page = part[start : start + size]
            for first, end in unused_ranges(page, is_first=self._offset + start == 0):
                if bytes(page[first:end]).strip(b"\0"):
                    _write(self._file, bytes(end - first), self._offset + start + first)
        self._offset += len(part)
        if len(part) == SCRUB_BYTES:
            return False
        os.fsync(self._file)
        return True

    def _truncate_log(self, connection: sqlite3.Connection) -> bool:
        """Write the log's pages to the database and empty it. False: a reader still uses it."""
        if not self._log_size():
            return True
        [timeout_ms] = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS}")
        try:
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
        return not is_busy

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0


def needs_purge(connection: sqlite3.Connection) -> bool:
    return _version(connection) != CLEAN


def _version(connection: sqlite3.Connection) -> int:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _merge(connection: sqlite3.Connection, pages: int) -> bool:
    """Merge segments of the full-text index; returns whether there was something to merge."""
    before = connection.total_changes
    with _transaction(connection):
        connection.execute("INSERT INTO job_text (job_text, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes - before >= 2  # the statement itself counts as one


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _read(file: int, count: int, offset: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, count)


def _write(file: int, data: bytes, offset: int) -> None:
    os.lseek(file, offset, os.SEEK_SET)
    os.write(file, data)
