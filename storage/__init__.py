"""Everything that Easel keeps: the database and the pictures. The only room that knows SQL and files of pictures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bot.errors import StartupError
from storage.database import Database
from storage.dialect import Dialect, url_of
from storage.disk import Disk
from storage.files import Files
from storage.history import SqlHistory
from storage.inbox import SqlInbox
from storage.jobs import SqlJobStore
from storage.ledger import SqlLedger
from storage.maintenance import SqlMaintenance
from storage.measurements import SqlLearned
from storage.media import SqlMediaStore
from storage.migration import migrate
from storage.outbox import SqlOutbox
from storage.people import SqlPeople
from storage.privacy import SqlPrivacy
from storage.restore import Restored, restore
from storage.spaces import SqlSpaces
from storage.sqlite import Sqlite

__all__ = ["Restored", "Storage", "StorageSettings", "open_storage", "restore"]


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """`[storage]`.

    Attributes:
        url: SQLAlchemy URL; empty: SQLite in the data directory.
        readers: connections that only read.
        min_free_mb: with less room on the disk than this, MiB, new jobs and uploads are refused.
    """

    url: str = ""
    busy_timeout_ms: int = 5000
    readers: int = 3
    min_free_mb: int = 1024


@dataclass(frozen=True)
class Storage:
    jobs: SqlJobStore
    history: SqlHistory
    ledger: SqlLedger
    people: SqlPeople
    spaces: SqlSpaces
    media: SqlMediaStore
    outbox: SqlOutbox
    inbox: SqlInbox
    privacy: SqlPrivacy
    learned: SqlLearned
    maintenance: SqlMaintenance


@asynccontextmanager
async def open_storage(settings: StorageSettings, data_dir: Path) -> AsyncIterator[Storage]:
    """Check and upgrade the database, then keep it open.

    Raises:
        StartupError: it is damaged, from a newer Easel, somebody else's, or cannot be opened.
        StorageBusy: another process holds its lock.
    """
    database = Database(await asyncio.to_thread(_prepare, settings, data_dir))
    disk = Disk(data_dir, min_free_mb=settings.min_free_mb)
    files = Files(data_dir / "media")
    async with database.running():
        yield Storage(
            jobs=SqlJobStore(database, disk),
            history=SqlHistory(database),
            ledger=SqlLedger(database),
            people=SqlPeople(database),
            spaces=SqlSpaces(database),
            media=SqlMediaStore(database, files, disk),
            outbox=SqlOutbox(database),
            inbox=SqlInbox(database),
            privacy=SqlPrivacy(database, files, data_dir / "exports"),
            learned=SqlLearned(database),
            maintenance=SqlMaintenance(database, disk),
        )


def _prepare(settings: StorageSettings, data_dir: Path) -> Dialect:
    (data_dir / "media").mkdir(parents=True, exist_ok=True)
    url = url_of(settings.url, data_dir)
    dialect = Sqlite(url, busy_timeout_ms=settings.busy_timeout_ms, readers=settings.readers)
    dialect.check_at_start()
    engine = dialect.migrator()
    try:
        migrate(engine, dialect, data_dir / "backups")
    except DBAPIError as error:
        raise dialect.translate(error) or StartupError(
            f"The database {url.database} cannot be opened: {error.orig}."
        ) from error
    finally:
        engine.dispose()
    return dialect
