"""The state of queue and storage for monitoring: `bot.ports.StorageMonitor` on the database."""

import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, case, func, select

from bot.ports import WEBHOOK, PendingDeliveries, StorageState, WebhookState
from storage.database import Database
from storage.disk import DiskSpace
from storage.schema import IS_PENDING, IS_QUEUED, IS_WAITING, inbox_event, job, media, outbox, utcnow

BACKUP_MARK = "last-backup"
"""A file in the data directory whose time is that of the last backup."""
MEDIA_AGE_S = 60.0
"""The size of all images is summed up at most this often."""

_OLDEST = select(func.min(job.c.created_at)).where(IS_QUEUED)
_BACKLOG = select(job.c.model, func.count()).where(IS_QUEUED).group_by(job.c.model)
_PLATFORM = case(
    (outbox.c.kind == WEBHOOK, WEBHOOK),
    (outbox.c.kind == "retract", outbox.c.target),
    else_=job.c.origin["platform"].as_string(),
)
_DELIVERIES = (
    select(outbox.c.kind, _PLATFORM.label("platform"), func.count().label("count"), func.min(outbox.c.created_at))
    .join(job, job.c.id == outbox.c.job)
    .where(IS_PENDING)
    .group_by(outbox.c.kind, _PLATFORM)
)
_IS_EVENT = outbox.c.kind == WEBHOOK
_WEBHOOKS = select(outbox.c.target, outbox.c.state, func.count()).where(_IS_EVENT)
_WEBHOOKS = _WEBHOOKS.group_by(outbox.c.target, outbox.c.state)
_FIRST_PENDING = select(func.min(outbox.c.id)).where(_IS_EVENT, IS_PENDING).group_by(outbox.c.target)
_OLDEST_EVENTS = select(outbox.c.target, outbox.c.reason, outbox.c.created_at).where(outbox.c.id.in_(_FIRST_PENDING))
_INBOX = select(func.count()).select_from(inbox_event).where(IS_WAITING)
_MEDIA = select(func.coalesce(func.sum(media.c.size), 0))


class SqlMonitor:
    def __init__(self, database: Database, disk: DiskSpace, data_dir: Path) -> None:
        self._database = database
        self._disk = disk
        self._mark = data_dir / BACKUP_MARK
        self._media_bytes = 0
        self._measured_at = -MEDIA_AGE_S

    async def read_state(self) -> StorageState:
        is_due = time.monotonic() >= self._measured_at + MEDIA_AGE_S
        state, media_bytes = await self._database.run_read(lambda tx: self._read(tx, with_media=is_due))
        if media_bytes is not None:
            self._media_bytes, self._measured_at = media_bytes, time.monotonic()
        return state

    async def read_webhooks(self) -> list[WebhookState]:
        return await self._database.run_read(_read_webhooks)

    def _read(self, tx: Connection, *, with_media: bool) -> tuple[StorageState, int | None]:
        now = utcnow()
        oldest = tx.scalar(_OLDEST)
        media_bytes = tx.scalar(_MEDIA) if with_media else None
        state = StorageState(
            oldest_queued_s=_age_s(oldest, now),
            backlog={str(model): int(queued) for model, queued in tx.execute(_BACKLOG)},
            deliveries={
                (kind, platform): PendingDeliveries(count=count, oldest_s=_age_s(since, now))
                for kind, platform, count, since in tx.execute(_DELIVERIES)
            },
            inbox_waiting=tx.scalar(_INBOX) or 0,
            writer_queue=self._database.waiting,
            database_bytes=self._database.dialect.size_bytes(),
            media_bytes=self._media_bytes if media_bytes is None else media_bytes,
            free_bytes=self._disk.free_mb() << 20,
            last_backup=self._last_backup(),
        )
        return state, media_bytes

    def _last_backup(self) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._mark.stat().st_mtime, UTC)
        except OSError:
            return None


def _read_webhooks(tx: Connection) -> list[WebhookState]:
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, state, count in tx.execute(_WEBHOOKS):
        counts[name][state] = count
    oldest = {name: (since, reason) for name, reason, since in tx.execute(_OLDEST_EVENTS)}
    now = utcnow()
    states = []
    for name, count in sorted(counts.items()):
        since, reason = oldest.get(name, (None, ""))
        states.append(
            WebhookState(
                name=name,
                sent=count.get("sent", 0),
                pending=count.get("pending", 0),
                undeliverable=count.get("undeliverable", 0),
                oldest_s=_age_s(since, now),
                last_problem=reason,
            )
        )
    return states


def _age_s(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
