"""Persistent storage: the database and the image files. The only package that knows SQL and image files."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bot.errors import StartupError
from bot.ports import NO_METRICS, WorkMetrics
from bot.runtime.private_files import make_private_folder
from storage.adapters import SqlAdapters
from storage.administration import SqlAdministration
from storage.batches import SqlBatches
from storage.changes import SqlJobChanges
from storage.corrections import SqlCorrections
from storage.database import Database
from storage.dialect import Dialect, database_url
from storage.discarded import DiscardedFiles
from storage.disk import DiskSpace
from storage.embeddings import SqlEmbeddings
from storage.files import MediaFiles
from storage.history import SqlHistory
from storage.inbox import SqlInbox
from storage.jobs import SqlJobStore
from storage.key_links import SqlKeyLinks
from storage.ledger import SqlLedger
from storage.links import SqlLinks
from storage.maintenance import SqlMaintenance
from storage.measurements import SqlMeasurementStore
from storage.media import SqlMediaStore
from storage.media_retention import MediaSweep
from storage.metric_samples import SqlMetricSamples
from storage.migration import migrate
from storage.monitor import SqlMonitor
from storage.outbox import SqlOutbox
from storage.people import SqlPeople
from storage.permissions import protect_data
from storage.picture_collections import SqlCollections
from storage.pictures import SqlPictures
from storage.privacy import SqlPrivacy
from storage.purge import Purge
from storage.refusals import SqlRefusals
from storage.reports import SqlReports
from storage.restore import RestoreResult, restore
from storage.sessions import SqlSessions
from storage.spaces import SqlSpacePolicyStore
from storage.sqlite import SqliteDialect

__all__ = ["RestoreResult", "Storage", "StorageSettings", "open_storage", "restore"]


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """`[storage]`.

    Attributes:
        url: SQLAlchemy URL; empty: SQLite in the data directory.
        readers: number of read-only connections.
        min_free_mb: with less free disk space, MiB, new jobs and uploads are refused.
    """

    url: str = ""
    busy_timeout_ms: int = 5000
    readers: int = 3
    min_free_mb: int = 1024


@dataclass(frozen=True)
class Storage:
    jobs: SqlJobStore
    history: SqlHistory
    changes: SqlJobChanges
    ledger: SqlLedger
    people: SqlPeople
    links: SqlLinks
    sessions: SqlSessions
    spaces: SqlSpacePolicyStore
    media: SqlMediaStore
    outbox: SqlOutbox
    pictures: SqlPictures
    batches: SqlBatches
    collections: SqlCollections
    embeddings: SqlEmbeddings
    corrections: SqlCorrections
    inbox: SqlInbox
    privacy: SqlPrivacy
    measurements: SqlMeasurementStore
    maintenance: SqlMaintenance
    administration: SqlAdministration
    reports: SqlReports
    refusals: SqlRefusals
    key_links: SqlKeyLinks
    metric_samples: SqlMetricSamples
    adapters: SqlAdapters
    monitor: SqlMonitor
    metrics: WorkMetrics


@asynccontextmanager
async def open_storage(
    settings: StorageSettings, data_dir: Path, metrics: WorkMetrics = NO_METRICS
) -> AsyncIterator[Storage]:
    """Check and upgrade the database, and keep it open. `metrics` counts what happens in it.

    Raises:
        StartupError: it is damaged, from a newer Easel, from another program, or cannot be opened.
        StorageBusy: another process holds its lock.
    """
    database = Database(await asyncio.to_thread(_prepare, settings, data_dir), metrics)
    disk = DiskSpace(data_dir, min_free_mb=settings.min_free_mb)
    files = MediaFiles(data_dir / "media")
    opened_at = time.time()
    sweep = MediaSweep(database, files, opened_at)
    discarded = DiscardedFiles(sweep, files)
    privacy = SqlPrivacy(database, files, data_dir / "exports", opened_at=opened_at)
    purge = Purge(database, privacy, discarded)
    media = SqlMediaStore(database, files, disk, discarded, sweep)
    async with database.running(), purge.running():
        yield Storage(
            jobs=SqlJobStore(database, disk, discarded),
            history=SqlHistory(database),
            changes=SqlJobChanges(database),
            ledger=SqlLedger(database),
            people=SqlPeople(database),
            links=SqlLinks(database),
            sessions=SqlSessions(database),
            spaces=SqlSpacePolicyStore(database),
            media=media,
            outbox=SqlOutbox(database),
            pictures=SqlPictures(database),
            batches=SqlBatches(database, discarded, media),
            collections=SqlCollections(database),
            embeddings=SqlEmbeddings(database),
            corrections=SqlCorrections(database),
            inbox=SqlInbox(database),
            privacy=privacy,
            measurements=SqlMeasurementStore(database),
            maintenance=SqlMaintenance(database, disk, purge, data_dir),
            administration=SqlAdministration(database, disk),
            reports=SqlReports(database),
            refusals=SqlRefusals(database),
            key_links=SqlKeyLinks(database),
            metric_samples=SqlMetricSamples(database),
            adapters=SqlAdapters(database),
            monitor=SqlMonitor(database, disk, data_dir),
            metrics=metrics,
        )


def _prepare(settings: StorageSettings, data_dir: Path) -> Dialect:
    url = database_url(settings.url, data_dir)
    make_private_folder(data_dir)
    make_private_folder(data_dir / "media")
    protect_data(data_dir, Path(str(url.database)))
    dialect = SqliteDialect(url, busy_timeout_ms=settings.busy_timeout_ms, readers=settings.readers)
    dialect.check_at_start()
    engine = dialect.open_migrator()
    try:
        migrate(engine, dialect, data_dir / "backups")
    except DBAPIError as error:
        raise dialect.translate_error(error) or StartupError(
            f"The database {url.database} cannot be opened: {error.orig}."
        ) from error
    finally:
        engine.dispose()
    return dialect
