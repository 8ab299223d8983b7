"""Replaces the database with a backup made by `db backup`.

The backup is copied, checked and upgraded first; if that fails, nothing has changed. A server that was locked, or may
have been (see `bot.ports.People.is_locked`), stays locked, revoked keys stay revoked, blocked persons stay blocked,
withdrawn consent stays withdrawn, and the sessions of the page and the codes that link accounts end. Blocking; the
database must not be open.
"""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, delete, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from bot.errors import StartupError
from bot.runtime.durable_files import SIDECAR_SUFFIXES, fsync_path, remove_sidecars, replace_database
from bot.runtime.private_files import create_private_file, make_private_folder
from storage import audit, people
from storage.blocking import Blocks, add_blocks, read_blocks
from storage.consents import ConsentState, read_consents, withdraw_others
from storage.dialect import database_url
from storage.files import MediaFiles
from storage.link_tables import link_code
from storage.migration import read_revision, refuse_newer, run_migrations
from storage.picture_tables import session
from storage.schema import REVISION, media, utcnow
from storage.sqlite import SqliteDialect

HEADER = b"SQLite format 3\0"
LOCK_UNKNOWN = (
    "The previous database is too damaged to say whether an API key ever existed, so the server is locked now: create "
    "a key, or run `easel keys unlock` if there is no proxy."
)


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """The result of a restore.

    Attributes:
        database: the file that was replaced.
        backup: the backup of the previous database; None: there was none.
        missing: image files that the database refers to and that do not exist.
        problems: inconsistent records, as sentences.
    """

    database: Path
    backup: Path | None
    missing: tuple[Path, ...]
    problems: tuple[str, ...]


def restore(url: str, data_dir: Path, source: Path, *, busy_timeout_ms: int) -> RestoreResult:
    """`url` is `storage.url`. Raises: StartupError, StorageFull, StorageBusy; then nothing has changed."""
    database = Path(str(database_url(url, data_dir).database))
    _check_source(source, database)
    backups = data_dir / "backups"
    copy = database.with_name(f"{database.name}.restoring")
    make_private_folder(database.parent)
    dialect = SqliteDialect(URL.create("sqlite", database=str(copy)), busy_timeout_ms=busy_timeout_ms, readers=1)
    _remove(copy)
    try:
        _copy(source, copy)
        access = _read_access(database)
        missing, problems = _prepare(dialect, source, MediaFiles(data_dir / "media"), access)
        make_private_folder(backups)
        backup = _back_up(database, backups / f"before-restore-{utcnow():%Y%m%dT%H%M%S%f}.db", busy_timeout_ms)
        replace_database(database, copy)
    finally:
        _remove(copy)
    return RestoreResult(database=database, backup=backup, missing=missing, problems=problems)


def _check_source(source: Path, database: Path) -> None:
    try:
        if database.exists() and source.samefile(database):
            raise StartupError(f"{source} is the database itself: name a backup made by `easel db backup`.")
        with source.open("rb") as file:
            header = file.read(len(HEADER))
    except FileNotFoundError as error:
        raise StartupError(f"There is no file {source}: name a backup made by `easel db backup`.") from error
    except OSError as error:
        raise StartupError(f"{source} cannot be read ({error.strerror or error}): name another backup.") from error
    if header != HEADER:
        raise StartupError(f"{source} is not an SQLite database: name a backup made by `easel db backup`.")


def _copy(source: Path, copy: Path) -> None:
    """Including the log next to it, if there is one; the source is not changed."""
    try:
        with closing(sqlite3.connect(_read_only_uri(source), uri=True)) as opened:
            if [str(line) for (line,) in opened.execute("PRAGMA integrity_check(1)")] != ["ok"]:
                raise _damaged(source)
            create_private_file(copy)
            with closing(sqlite3.connect(copy)) as target:
                opened.backup(target, pages=-1)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StartupError(f"The disk of {copy.parent} is full: free some space. Nothing was changed.") from error
        raise _damaged(source) from error


def _read_only_uri(path: Path) -> str:
    has_log = path.with_name(f"{path.name}-wal").exists()
    return f"file:{quote(str(path.absolute()))}?mode=ro{'' if has_log else '&immutable=1'}"


@dataclass(frozen=True)
class _Access:
    """What a restore must not give back.

    Attributes:
        is_locked: the previous database refuses requests without a key; None: it is damaged.
        revoked: when its revoked keys were revoked, by prefix.
        blocks: whom an admin has blocked.
        consents: the consent that holds; None: nothing is known, so that of the backup does.
    """

    is_locked: bool | None
    revoked: Mapping[str, datetime] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)
    consents: ConsentState | None = None


def _read_access(database: Path) -> _Access:
    """Of the previous database, if there is one."""
    if not database.exists():
        return _Access(is_locked=False)
    engine = create_engine(f"sqlite:///{_read_only_uri(database)}&uri=true", hide_parameters=True)
    try:
        with engine.connect() as connection:
            access = _Access(people.is_locked(connection), people.revoked_keys(connection))
            with suppress(OperationalError):  # it is of a version without blocks
                access = replace(access, blocks=read_blocks(connection))
            with suppress(OperationalError):  # it is of a version without corrections
                access = replace(access, consents=read_consents(connection))
            return access
    except OperationalError:  # it has no such tables
        return _Access(is_locked=False)
    except DBAPIError:
        return _Access(is_locked=None, consents=ConsentState())
    finally:
        engine.dispose()


def _damaged(source: Path) -> StartupError:
    return StartupError(f"{source} is damaged: use another backup. Nothing was changed.")


def _prepare(
    dialect: SqliteDialect, source: Path, files: MediaFiles, access: _Access
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Upgrade the copy and make it a single file; returns missing files and inconsistent records."""
    engine = dialect.open_migrator()
    try:
        with engine.connect() as connection, connection.begin():
            _upgrade(connection, dialect, source)
            is_news = access.is_locked is None and not people.is_locked(connection)
            if access.is_locked is not False:
                people.lock(connection)
            people.revoke_keys(connection, access.revoked)
            add_blocks(connection, access.blocks)
            if access.consents is not None:
                withdraw_others(connection, access.consents)
            for used_up in (session, link_code):  # some may have been ended or used since
                connection.execute(delete(used_up))
            rows = connection.execute(select(media.c.id, media.c.media_type)).all()
            problems = (*audit.find_problems(connection), *([LOCK_UNKNOWN] if is_news else ()))
    except DBAPIError as error:
        raise dialect.translate_error(error) or _damaged(source) from error
    finally:
        engine.dispose()
    with closing(sqlite3.connect(dialect.path)) as one_file:
        one_file.execute("PRAGMA journal_mode = DELETE")
    paths = (files.path(media_id, media_type) for media_id, media_type in rows)
    return tuple(path for path in paths if not path.exists()), problems


def _upgrade(connection: Connection, dialect: SqliteDialect, source: Path) -> None:
    revision = read_revision(connection)
    if revision is None:
        raise StartupError(f"{source} has no tables of Easel: name a backup made by `easel db backup`.")
    refuse_newer(revision)
    if revision != REVISION:
        run_migrations(connection, dialect)


def _back_up(database: Path, backup: Path, busy_timeout_ms: int) -> Path | None:
    """Back up the database, or copy its files if SQLite cannot read them."""
    if not database.exists():
        return None
    dialect = SqliteDialect(URL.create("sqlite", database=str(database)), busy_timeout_ms=busy_timeout_ms, readers=1)
    try:
        dialect.backup(backup)
    except sqlite3.DatabaseError:
        for ending in ("", *SIDECAR_SUFFIXES):
            file = database.with_name(database.name + ending)
            if file.exists():
                kept = backup.with_name(backup.name + ending)
                create_private_file(kept)
                shutil.copyfile(file, kept)
                fsync_path(kept)
    return backup


def _remove(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    remove_sidecars(copy)
