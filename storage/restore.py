"""Puts a copy that `db backup` made in the place of the database.

The copy is checked and upgraded beside the database, and takes its place only then: whatever is wrong with it, nothing
has changed. Blocking; nobody may have the database open.
"""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from bot.errors import StartupError
from bot.runtime.durable_files import BESIDE, remove_beside, replace_database, sync
from storage import audit
from storage.dialect import url_of
from storage.files import Files
from storage.migration import refuse_newer, revision_of, upgrade
from storage.schema import REVISION, media, utcnow
from storage.sqlite import Sqlite

HEADER = b"SQLite format 3\0"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was done.

    Attributes:
        database: the file that was replaced.
        kept: where the database of before lies now; None: there was none.
        missing: files of pictures that the copy names and that are not there.
        problems: sentences about bookkeeping in the copy that does not add up.
    """

    database: Path
    kept: Path | None
    missing: tuple[Path, ...]
    problems: tuple[str, ...]


def restore(url: str, data_dir: Path, source: Path, *, busy_timeout_ms: int) -> Restored:
    """`url` is `storage.url`. Raises: StartupError, StorageFull, StorageBusy; nothing has changed then."""
    database = Path(str(url_of(url, data_dir).database))
    _refuse_no_database(source, database)
    backups = data_dir / "backups"
    copy = database.with_name(f"{database.name}.restoring")
    database.parent.mkdir(parents=True, exist_ok=True)
    dialect = Sqlite(URL.create("sqlite", database=str(copy)), busy_timeout_ms=busy_timeout_ms, readers=1)
    _remove(copy)
    try:
        _copy(source, copy)
        missing, problems = _prepare(dialect, source, Files(data_dir / "media"))
        backups.mkdir(parents=True, exist_ok=True)
        kept = _keep_aside(database, backups / f"before-restore-{utcnow():%Y%m%dT%H%M%S%f}.db", busy_timeout_ms)
        replace_database(database, copy)
    finally:
        _remove(copy)
    return Restored(database=database, kept=kept, missing=missing, problems=problems)


def _refuse_no_database(source: Path, database: Path) -> None:
    try:
        if database.exists() and source.samefile(database):
            raise StartupError(f"{source} is the database itself: name a copy that `easel db backup` made.")
        with source.open("rb") as file:
            header = file.read(len(HEADER))
    except FileNotFoundError as error:
        raise StartupError(f"There is no file {source}: name a copy that `easel db backup` made.") from error
    except OSError as error:
        raise StartupError(f"{source} cannot be read ({error.strerror or error}): name another copy.") from error
    if header != HEADER:
        raise StartupError(f"{source} is no SQLite database: name a copy that `easel db backup` made.")


def _copy(source: Path, copy: Path) -> None:
    """With what lies in the log beside it, if anything does; the source is left as it is."""
    has_log = source.with_name(f"{source.name}-wal").exists()
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source.absolute()))}?{mode}", uri=True)) as opened:
            if [str(line) for (line,) in opened.execute("PRAGMA integrity_check(1)")] != ["ok"]:
                raise _damaged(source)
            with closing(sqlite3.connect(copy)) as target:
                opened.backup(target, pages=-1)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StartupError(f"The disk of {copy.parent} is full: free some; nothing was changed.") from error
        raise _damaged(source) from error


def _damaged(source: Path) -> StartupError:
    return StartupError(f"{source} is damaged: choose another copy. Nothing was changed.")


def _prepare(dialect: Sqlite, source: Path, files: Files) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Upgrade the copy and make it one file; what it misses, and what does not add up."""
    engine = dialect.migrator()
    try:
        with engine.connect() as connection, connection.begin():
            _upgrade(connection, dialect, source)
            rows = connection.execute(select(media.c.id, media.c.media_type)).all()
            problems = tuple(audit.problems(connection))
    except DBAPIError as error:
        raise dialect.translate(error) or _damaged(source) from error
    finally:
        engine.dispose()
    with closing(sqlite3.connect(dialect.path)) as one_file:
        one_file.execute("PRAGMA journal_mode = DELETE")
    paths = (files.path(media_id, media_type) for media_id, media_type in rows)
    return tuple(path for path in paths if not path.exists()), problems


def _upgrade(connection: Connection, dialect: Sqlite, source: Path) -> None:
    revision = revision_of(connection)
    if revision is None:
        raise StartupError(f"{source} holds no tables of Easel: name a copy that `easel db backup` made.")
    refuse_newer(revision)
    if revision != REVISION:
        upgrade(connection, dialect)


def _keep_aside(database: Path, kept: Path, busy_timeout_ms: int) -> Path | None:
    """A whole copy, or the very files where SQLite cannot read them."""
    if not database.exists():
        return None
    dialect = Sqlite(URL.create("sqlite", database=str(database)), busy_timeout_ms=busy_timeout_ms, readers=1)
    try:
        dialect.backup(kept)
    except sqlite3.DatabaseError:
        for ending in ("", *BESIDE):
            beside = database.with_name(database.name + ending)
            if beside.exists():
                shutil.copyfile(beside, kept.with_name(kept.name + ending))
                sync(kept.with_name(kept.name + ending))
    return kept


def _remove(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    remove_beside(copy)
