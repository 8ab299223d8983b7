"""Incoming platform events, stored until they are handled; their keys are kept longer."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, null, select, update

from storage.database import Database
from storage.schema import IS_WAITING, inbox, inbox_event, utcnow

CHUNK = 500
"""Rows pruned per transaction, which limits the wait of jobs."""


class SqlInbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_event(self, platform: str, key: str, event: Mapping[str, Any]) -> bool:
        row = {"platform": platform, "key": key, "event": dict(event), "created_at": utcnow()}
        return await self._database.run_write(lambda tx: _save_event(tx, row))

    async def pending_events(self, platform: str) -> list[tuple[str, Mapping[str, Any]]]:
        e = inbox_event.c
        query = select(e.key, e.event).where(e.platform == platform, IS_WAITING).order_by(e.seq)
        return await self._database.run_read(lambda tx: [(row.key, row.event) for row in tx.execute(query)])

    async def mark_done(self, platform: str, key: str) -> None:
        has_key = (inbox_event.c.platform == platform, inbox_event.c.key == key)
        handled = update(inbox_event).where(*has_key).values(event=null())
        await self._database.run_write(lambda tx: tx.execute(handled).rowcount)

    async def prune(self, keep_days: int) -> int:
        before = utcnow() - timedelta(days=keep_days)
        e = inbox_event.c
        events = select(e.seq).where(e.created_at < before, ~IS_WAITING).limit(CHUNK)
        keys = select(inbox.c.key).where(inbox.c.created_at < before).limit(CHUNK)
        deleted = 0
        for delete_chunk in (
            _deleting(inbox_event, inbox_event.c.seq.in_(events)),
            _deleting(inbox, inbox.c.key.in_(keys)),
        ):
            while count := await self._database.run_write(delete_chunk):
                deleted += count
        return deleted


def _save_event(tx: Connection, row: Mapping[str, Any]) -> bool:
    e = inbox_event.c
    known = select(e.seq).where(e.platform == row["platform"], e.key == row["key"])
    if tx.scalar(known) is not None:
        return False
    tx.execute(insert(inbox_event), row)
    return True


def _deleting(table: Table, condition: Any) -> Callable[[Connection], int]:
    return lambda tx: tx.execute(delete(table).where(condition)).rowcount
