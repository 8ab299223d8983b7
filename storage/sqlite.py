"""Everything specific to SQLite: pragmas, kinds of BEGIN, full-text tables, online backup.

SQLite 3.7.0 to 3.51.2 can damage a database if two connections write or checkpoint at the same time. Here only the
writer's connection does either: readers are `query_only` and never checkpoint.
"""

import errno
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Integer, Select, column, create_engine, event, select, table, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from bot.errors import EaselError, StartupError, StorageBusy, StorageFull
from bot.runtime.durable_files import fsync_path
from bot.runtime.private_files import create_private_file, make_private_folder
from storage.connections import ConnectionThread, ReaderPool
from storage.dialect import PurgeState
from storage.search import search_phrases, separate_words
from storage.sqlite_purge import NEEDED, SqlitePurge, needs_purge

log = structlog.get_logger(__name__)

_WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))
_LOST = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_CORRUPT,
}
"""Errors after which SQLite may have rolled back the transaction."""

_SEARCH = """
CREATE VIRTUAL TABLE job_text USING fts5(
    owner, text, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
)
"""


class SqliteDialect:
    def __init__(self, url: URL, *, busy_timeout_ms: int, readers: int) -> None:
        logging.getLogger("aiosqlite").setLevel(logging.WARNING)  # at DEBUG it logs parameters
        self._url = url
        self._busy_timeout_ms = busy_timeout_ms
        self._readers = readers
        self.path = Path(str(url.database))
        self.has_deleted = False
        self._purge = SqlitePurge(self.path)
        self._warn_of_wal_reset()

    def open_writer(self) -> ConnectionThread:
        return self._connection_thread(self._configure_writer)

    def open_migrator(self) -> Engine:
        waits = {"timeout": self._busy_timeout_ms / 1000, "check_same_thread": False}
        engine = create_engine(self._url, poolclass=StaticPool, connect_args=waits, hide_parameters=True)
        self._configure_writer(engine)
        return engine

    def open_readers(self) -> ReaderPool:
        return ReaderPool([self._connection_thread(_configure_reader) for _ in range(self._readers)])

    def _connection_thread(self, prepare: Callable[[Engine], None]) -> ConnectionThread:
        return ConnectionThread(str(self.path), timeout_s=self._busy_timeout_ms / 1000, prepare=prepare)

    def _configure_writer(self, engine: Engine) -> None:
        _begin_by(engine, "BEGIN IMMEDIATE")

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # deleted data must not stay in free pages

    def translate_error(self, error: DBAPIError) -> EaselError | None:
        return _translate(error.orig)

    def ends_transaction(self, error: DBAPIError) -> bool:
        return _code(error.orig) in _LOST

    def check_at_start(self) -> None:
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        try:
            damage = self._quick_check(limit=1)
        except sqlite3.DatabaseError as error:
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StorageBusy() from error
            raise StartupError(self._damaged()) from error
        if damage:
            raise StartupError(self._damaged())

    def _damaged(self) -> str:
        return (
            f"The database {self.path} is damaged. Move it away together with its -wal and -shm "
            "files and restore a backup: easel db restore FILE."
        )

    def create_search(self, tx: Connection) -> None:
        tx.exec_driver_sql(_SEARCH)

    def drop_search(self, tx: Connection) -> None:
        tx.exec_driver_sql("DROP TABLE job_text")

    def is_search_table(self, name: str) -> bool:
        return name == "job_text" or name.startswith("job_text_")

    def add_text(self, tx: Connection, seq: int, owner: str, text: str) -> None:
        tx.execute(_ADD_TEXT, {"seq": seq, "owner": owner, "text": separate_words(text)})

    def append_text(self, tx: Connection, seq: int, text: str) -> None:
        if text:
            tx.execute(_APPEND_TEXT, {"seq": seq, "text": separate_words(text)})

    def remove_text(self, tx: Connection, seq: int) -> None:
        tx.execute(_REMOVE_TEXT, {"seq": seq})

    def move_texts(self, tx: Connection, *, kept: str, emptied: str) -> None:
        tx.execute(_MOVE_TEXTS, {"kept": kept, "emptied": emptied})

    def mark_deleted(self, tx: Connection) -> None:
        self.has_deleted = True
        if tx.exec_driver_sql("PRAGMA user_version").scalar_one() != NEEDED:
            tx.exec_driver_sql(f"PRAGMA user_version = {NEEDED}")

    def needs_purge(self, connection: sqlite3.Connection) -> bool:
        return needs_purge(connection)

    def purge_step(self, connection: sqlite3.Connection) -> PurgeState:
        return self._purge.step(connection)

    def close(self) -> None:
        self._purge.close()

    def match_text(self, owner: str, q: str) -> Select[int] | None:
        phrases = search_phrases(q)
        if not phrases:
            return None
        terms = " AND ".join([*map(_complete_term, phrases[:-1]), f"{_quoted(phrases[-1])} *"])
        match = f"owner : {_quoted(owner)} AND text : ({terms})"
        return _MATCHING.params(match=match)

    def backup(self, path: Path) -> None:
        """Copies in one step: a stepwise copy would restart after each commit."""
        partial = path.with_name(path.name + ".partial")
        try:
            make_private_folder(path.parent)
            partial.unlink(missing_ok=True)
            create_private_file(partial)
            with closing(self._reader()) as source, closing(sqlite3.connect(partial)) as target:
                source.backup(target, pages=-1)
                target.execute("PRAGMA journal_mode = DELETE")
            fsync_path(partial)
            partial.replace(path)
            fsync_path(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise _translate(error) or error from error
        finally:
            partial.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        files = (self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def find_damage(self) -> list[str]:
        found = [f"The database is damaged: {line}." for line in self._quick_check(limit=20)]
        with closing(self._reader()) as connection:
            for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                found.append(f"Row {rowid} of {table} points to a missing row of {parent}.")
        return found

    def _quick_check(self, limit: int) -> list[str]:
        with closing(self._reader()) as connection:
            lines = [str(line) for (line,) in connection.execute(f"PRAGMA quick_check({limit})")]
        return [] if lines == ["ok"] else lines

    def _reader(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy_timeout_ms / 1000)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _warn_of_wal_reset(self) -> None:
        first, last = _WAL_RESET_BUG
        if first <= sqlite3.sqlite_version_info <= last:
            log.info(
                "this SQLite has the WAL-reset bug; Easel avoids it, other programs writing to the database may not",
                action="sqlite_version",
                version=sqlite3.sqlite_version,
            )


_ADD_TEXT = text("INSERT INTO job_text (rowid, owner, text) VALUES (:seq, :owner, :text)")
_APPEND_TEXT = text("UPDATE job_text SET text = text || ' ' || :text WHERE rowid = :seq")
_REMOVE_TEXT = text("DELETE FROM job_text WHERE rowid = :seq")
_MOVE_TEXTS = text(
    "UPDATE job_text SET owner = :kept WHERE rowid IN (SELECT seq FROM job WHERE owner = :emptied AND NOT erased)"
)
_MATCHING = select(column("rowid", Integer)).select_from(table("job_text")).where(text("job_text MATCH :match"))


def _configure_reader(engine: Engine) -> None:
    _begin_by(engine, "BEGIN")

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA query_only = ON")


def _begin_by(engine: Engine, statement: str) -> None:
    """Begin transactions with this statement only; disables the driver's implicit BEGIN."""

    @event.listens_for(engine, "connect")
    def _no_hidden_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


def _complete_term(phrase: str) -> str:
    """Words that begin with it; a single letter, which begins very many, only as a word of its own."""
    return _quoted(phrase) if len(phrase) == 1 else f"{_quoted(phrase)} *"


def _quoted(phrase: str) -> str:
    return '"' + phrase.replace('"', '""') + '"'


def _code(error: BaseException | None) -> int | None:
    """The primary result code, the low byte of an extended one."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _translate(error: BaseException | None) -> EaselError | None:
    if isinstance(error, OSError):
        return StorageFull() if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageBusy()
        case sqlite3.SQLITE_FULL:
            return StorageFull()
    return None
