"""Batches, and the sheets of grids. A sheet goes with the first picture on it that is deleted, and the last with its
batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, update

from bot.errors import NotFound
from bot.jobs import Job, JobState, StoredImage
from bot.ports.batches import BatchRecord, BatchSheet, NewSheet
from storage.changes import announce_change
from storage.database import Database
from storage.discarded import DiscardedFiles
from storage.mapping import next_change, to_job
from storage.media import SqlMediaStore
from storage.media_queries import save_image
from storage.picture_tables import batch, batch_sheet
from storage.schema import job, media, media_owner, utcnow
from storage.sources import find_source


class SqlBatches:
    """`bot.ports.batches.BatchStore`; the files of sheets are the media store's."""

    def __init__(self, database: Database, discarded: DiscardedFiles, media_store: SqlMediaStore) -> None:
        self._database = database
        self._discarded = discarded
        self._media = media_store

    async def get_batch(self, batch_id: str, owner: str | None) -> BatchRecord:
        return await self._database.run_read(lambda tx: _read_batch(tx, batch_id, owner))

    async def list_due(self) -> list[str]:
        return await self._database.run_read(_list_due)

    async def save_sheets(
        self, batch_id: str, spec: Mapping[str, Any], pictures: Mapping[str, str], sheets: Sequence[NewSheet]
    ) -> bool:
        images = [(sheet.z, await self._write(sheet)) for sheet in sheets]
        is_kept = await self._database.run_write(lambda tx: _save_sheets(tx, batch_id, spec, pictures, images))
        if not is_kept:
            self._discarded.add(image for _, image in images)
        return is_kept

    async def _write(self, sheet: NewSheet) -> StoredImage:
        media_id = await self._media.write_file(sheet.media)
        return StoredImage(
            id=media_id,
            media_type=sheet.media.media_type,
            width=sheet.width,
            height=sheet.height,
            size=len(sheet.media.data),
            alt=sheet.alt,
        )


def _read_batch(tx: Connection, batch_id: str, owner: str | None) -> BatchRecord:
    """Raises: NotFound."""
    is_meant = batch.c.id == batch_id if owner is None else (batch.c.id == batch_id) & (batch.c.owner == owner)
    row = tx.execute(select(batch).where(is_meant)).one_or_none()
    jobs = [] if row is None else _list_jobs(tx, row.id, row.owner)
    if row is None or not jobs:
        raise NotFound("batch", batch_id)
    found = (
        select(batch_sheet.c.z, media.c.id, media.c.media_type, media.c.width, media.c.height, media.c.size)
        .add_columns(media_owner.c.alt)
        .join(media, media.c.id == batch_sheet.c.media)
        .join(media_owner, (media_owner.c.media == media.c.id) & (media_owner.c.owner == row.owner))
        .where(batch_sheet.c.batch == row.id)
        .order_by(batch_sheet.c.z)
    )
    sheets = tuple(
        BatchSheet(z=one.z, image=StoredImage(**{name: value for name, value in one._mapping.items() if name != "z"}))
        for one in tx.execute(found)
    )
    return BatchRecord(
        id=row.id,
        owner=row.owner,
        kind=row.kind,
        spec=row.spec,
        is_due=row.is_due,
        jobs=tuple(jobs),
        sheets=sheets,
    )


def _list_jobs(tx: Connection, batch_id: str, owner: str) -> list[Job]:
    of_batch = select(job).where(job.c.batch == batch_id, job.c.owner == owner, job.c.erased.is_(False))
    return [to_job(row) for row in tx.execute(of_batch.order_by(job.c.seq))]


def _list_due(tx: Connection) -> list[str]:
    of_batch = (job.c.batch == batch.c.id, job.c.batch.is_not(None))
    is_open = exists().where(*of_batch, job.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
    due = select(batch.c.id).where(batch.c.is_due, exists().where(*of_batch), ~is_open)
    return list(tx.scalars(due.order_by(batch.c.id)))


def _save_sheets(
    tx: Connection,
    batch_id: str,
    spec: Mapping[str, Any],
    pictures: Mapping[str, str],
    images: Sequence[tuple[int, StoredImage]],
) -> bool:
    row = tx.execute(select(batch).where(batch.c.id == batch_id)).one_or_none()
    if row is None or row.spec != spec:
        return False
    rows = list(tx.execute(select(job).where(job.c.batch == batch_id, job.c.erased.is_(False)).order_by(job.c.seq)))
    there = {one.id: {image.id for image in result.media} for one in map(to_job, rows) if (result := one.result)}
    if not rows or any(media_id not in there.get(job_id, ()) for job_id, media_id in pictures.items()):
        return False
    tx.execute(delete(batch_sheet).where(batch_sheet.c.batch == batch_id))
    source = find_source(tx, rows[0])
    for z, image in images:
        save_image(tx, image, row.owner, utcnow(), source)
        tx.execute(insert(batch_sheet), {"batch": batch_id, "z": z, "media": image.id})
    tx.execute(update(batch).where(batch.c.id == batch_id).values(is_due=False))
    tx.execute(update(job).where(job.c.seq == rows[-1].seq).values(**next_change()))
    announce_change(tx, row.owner)
    return True
