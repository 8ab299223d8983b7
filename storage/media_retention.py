"""Deletes images: unused ones, those beyond the retention limits, and files without rows.

Rows are deleted first, in chunks that do not delay jobs, then files. A file that was written again in the meantime
stays.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from bot.jobs import JobState
from bot.ports import SweepResult
from storage.batch_rows import drop_sheets
from storage.changes import announce_change
from storage.consents import delete_corrections
from storage.database import Database
from storage.files import TEMPORARY, MediaFiles, owner_of
from storage.learning_tables import correction, embedding
from storage.mapping import from_result, next_version, to_result
from storage.media_queries import SHEET, delete_ownerless, embedding_bytes, is_used
from storage.picture_tables import batch, batch_sheet, collection_item, favourite
from storage.schema import job, job_media, media, media_owner, utcnow

CHUNK = 100
ORPHAN_S = 3600.0
"""Age after which a file without rows is deleted: a younger one may belong to a result that is being stored, unless it
was written before this process began."""

_uses = and_(job_media.c.media == media_owner.c.media, job_media.c.owner == media_owner.c.owner)
_is_open = job.c.state.in_([JobState.QUEUED, JobState.RUNNING])
_is_needed = exists().where(_uses, job.c.id == job_media.c.job, _is_open)
_is_marked = or_(
    *(
        exists().where(kept.c.job == job_media.c.job, kept.c.picture == job_media.c.position + 1)
        for kept in (favourite, collection_item)
    )
)
_is_kept = exists().where(_uses, job_media.c.role == "output", _is_marked)
"""It is a favourite, or in a collection: `retention.days` does not apply."""


@dataclass(frozen=True)
class MediaSweep:
    """`opened_at`: when this process began to work on the files, epoch seconds."""

    database: Database
    files: MediaFiles
    opened_at: float

    async def run(self, *, unused_s: float, keep_days: int, max_gb: float) -> SweepResult:
        started = time.time()
        now = utcnow()
        is_unused = and_(media_owner.c.kept_since <= now - timedelta(seconds=unused_s), ~is_used())
        deleted = await self._forget_all(is_unused)
        if keep_days > 0:
            is_old = media_owner.c.kept_since <= now - timedelta(days=keep_days)
            deleted += await self._forget_all(and_(is_old, ~_is_needed, ~_is_kept))
        if max_gb > 0:
            deleted += await self._forget_beyond(int(max_gb * 2**30))
        before = max(started - ORPHAN_S, self.opened_at)
        orphans = await asyncio.to_thread(lambda: list(self.files.files_written_before(before)))
        freed = await self.delete_ownerless(deleted, started)
        freed += await self.delete_ownerless(orphans, before)
        return SweepResult(files=len(freed), megabytes=sum(freed) / 2**20)

    async def _forget_all(self, condition: ColumnElement[bool]) -> list[Path]:
        chosen = select(media_owner.c.media, media_owner.c.owner).where(condition)
        return await self._forget_chunks(lambda tx: tx.execute(chosen.order_by(media_owner.c.kept_since).limit(CHUNK)))

    async def _forget_beyond(self, limit: int) -> list[Path]:
        return await self._forget_chunks(lambda tx: _oldest_beyond(tx, limit))

    async def _forget_chunks(self, choose: Callable[[Connection], Iterable[Row[Any]]]) -> list[Path]:
        deleted: list[Path] = []

        def forget(tx: Connection) -> tuple[int, list[tuple[str, str]]]:
            chosen = [(row.media, row.owner) for row in choose(tx)]
            if chosen:
                self.database.dialect.mark_deleted(tx)
            return len(chosen), _disown(tx, chosen)

        count = CHUNK
        while count:
            count, ownerless = await self.database.run_write(forget)
            deleted += [self.files.path(media_id, media_type) for media_id, media_type in ownerless]
        return deleted

    async def delete_ownerless(self, paths: list[Path], older_than: float) -> list[int]:
        """Delete files that still have no rows and were not written since; returns their sizes."""
        freed: list[int | None] = []
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            known = await self.database.run_read(_known([owner_of(path) for path in chunk]))
            ownerless = [path for path in chunk if path.suffix == TEMPORARY or owner_of(path) not in known]
            freed += await asyncio.to_thread(
                lambda some: [self.files.remove_file(path, older_than) for path in some], ownerless
            )
        return [size for size in freed if size is not None]


def _known(ids: list[str]) -> Callable[[Connection], set[str]]:
    return lambda tx: set(tx.scalars(select(media.c.id).where(media.c.id.in_(ids))))


def _oldest_beyond(tx: Connection, limit: int) -> list[Row[Any]]:
    """Owner rows of the oldest images beyond the limit, at most one chunk."""
    used = (select(func.coalesce(func.sum(size), 0)) for size in (media.c.size, embedding_bytes()))
    excess = sum(tx.scalar(one) or 0 for one in used) - limit
    if excess <= 0:
        return []
    newest = func.max(media_owner.c.kept_since)
    needed = func.max(case((_is_needed, 1), else_=0))
    vectors = select(func.coalesce(func.sum(embedding_bytes()), 0)).where(embedding.c.media == media.c.id)
    oldest = (
        select(media.c.id, (media.c.size + vectors.scalar_subquery()).label("size"))
        .join(media_owner)
        .group_by(media.c.id, media.c.size)
        .having(needed == 0)
        .order_by(newest)
        .limit(CHUNK)
    )
    chosen: list[str] = []
    for media_id, size in tx.execute(oldest):
        if excess <= 0:
            break
        chosen.append(media_id)
        excess -= size
    return list(tx.execute(select(media_owner.c.media, media_owner.c.owner).where(media_owner.c.media.in_(chosen))))


def _disown(tx: Connection, owned: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Delete the links between these images and owners; returns `(id, type)` of images that nobody owns any more."""
    if not owned:
        return []
    uses = tuple_(job_media.c.media, job_media.c.owner).in_(owned)
    jobs = select(job_media.c.job).where(uses, job_media.c.role == "output")
    sheets = select(job_media.c.media, job_media.c.owner).where(job_media.c.job.in_(jobs), job_media.c.role == SHEET)
    owned = [*owned, *((row.media, row.owner) for row in tx.execute(sheets)), *_drop_sheets(tx, jobs)]
    uses = tuple_(job_media.c.media, job_media.c.owner).in_(owned)
    for row in tx.execute(
        select(job.c.seq, job.c.id, job.c.owner, job.c.result).where(job.c.id.in_(select(job_media.c.job).where(uses)))
    ):
        _drop_images(tx, row, {media_id for media_id, _ in owned})
    delete_corrections(tx, tuple_(correction.c.media, correction.c.person).in_(owned))
    tx.execute(delete(job_media).where(uses))
    of_owner = select(batch_sheet.c.batch).join(batch).where(tuple_(batch_sheet.c.media, batch.c.owner).in_(owned))
    ids = [media_id for media_id, _ in owned]
    tx.execute(delete(batch_sheet).where(batch_sheet.c.batch.in_(of_owner), batch_sheet.c.media.in_(ids)))
    tx.execute(delete(media_owner).where(tuple_(media_owner.c.media, media_owner.c.owner).in_(owned)))
    return delete_ownerless(tx, ids)


def _drop_sheets(tx: Connection, jobs: Select[tuple[str]]) -> list[tuple[str, str]]:
    """Grids lose their sheets with the pictures of these jobs: no new ones are composed. Returns (id, owner)."""
    named = select(job.c.batch, job.c.owner).where(job.c.id.in_(jobs), job.c.batch.is_not(None)).distinct()
    found = [(row.batch, row.owner) for row in tx.execute(named)]
    dropped = [(one, owner) for batch_id, owner in found for one in drop_sheets(tx, [batch_id], is_due=False)]
    owners = tuple_(media_owner.c.media, media_owner.c.owner).in_(dropped)
    unused = select(media_owner.c.media, media_owner.c.owner).where(owners, ~is_used()) if dropped else None
    return [] if unused is None else [(row.media, row.owner) for row in tx.execute(unused)]


def _drop_images(tx: Connection, row: Row[Any, Any, Any, Any], deleted: set[str]) -> None:
    """Remove deleted images from the job's result, and what keeps them; the job itself stays."""
    result = to_result(row.result)
    gone = [picture.number for picture in result.media if picture.id in deleted] if result else []
    if result is None or not gone:
        return
    for table in (favourite, collection_item):
        tx.execute(delete(table).where(table.c.job == row.id, table.c.picture.in_(gone)))
    stored = from_result(result)
    stored["media"] = [picture for picture in stored["media"] if picture["id"] not in deleted]
    tx.execute(update(job).where(job.c.seq == row.seq).values(result=stored, **next_version()))
    announce_change(tx, row.owner)
