"""Queries for stored images, their owners and the jobs that use them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select, update

from bot.errors import MediaNotFound
from bot.jobs import StoredImage
from storage.learning_tables import embedding
from storage.mapping import JobRow, to_result
from storage.picture_tables import batch, batch_sheet
from storage.schema import job, job_media, media, media_owner
from storage.sources import find_source

_MAX_RECALLED = 100
"""Images whose parameters are searched for those of a request."""
SHEET = "sheet"
"""The role of a picture that a job's pictures were composed to; it goes with the first of them that is deleted."""


def is_used() -> ColumnElement[bool]:
    """Whether a job of the owner of a row of `media_owner`, or a batch as its sheet, has the image."""
    o = media_owner.c
    by_job = exists().where(job_media.c.media == o.media, job_media.c.owner == o.owner)
    return or_(by_job, is_sheet_of_grid())


def is_sheet_of_grid() -> ColumnElement[bool]:
    """Whether a row of `media_owner` is a sheet of one of its owner's batches."""
    o = media_owner.c
    is_owners = (batch_sheet.c.batch == batch.c.id, batch.c.owner == o.owner)
    return exists().where(batch_sheet.c.media == o.media, *is_owners)


def save_image(tx: Connection, image: StoredImage, owner: str, now: datetime, source: str | None) -> None:
    """Make the owner an owner of the image. Idempotent; repeating it renews the image's age, and where the owner first
    got it stays."""
    if tx.scalar(select(media.c.id).where(media.c.id == image.id)) is None:
        tx.execute(
            insert(media),
            {
                "id": image.id,
                "media_type": image.media_type,
                "width": image.width,
                "height": image.height,
                "size": image.size,
            },
        )
    m = media_owner.c
    parameters = {"parameters": image.parameters} if image.parameters is not None else {}
    again = update(media_owner).where(m.media == image.id, m.owner == owner).values(kept_since=now, **parameters)
    if not tx.execute(again).rowcount:
        row = {"media": image.id, "owner": owner, "alt": image.alt, "kept_since": now}
        tx.execute(insert(media_owner), {**row, "parameters": image.parameters, "source": source})


def set_size(tx: Connection, media_id: str, size: int) -> bool:
    """Of the image with its thumbnails, bytes. False: there is no such image."""
    return tx.execute(update(media).where(media.c.id == media_id).values(size=size)).rowcount > 0


def share_image(tx: Connection, media_id: str, owner: str, now: datetime, source: str | None) -> None:
    """Add an owner to a stored image; the parameters from its file stay with the uploader."""
    found = find_image(tx, media_id, None)
    if found is None:
        raise MediaNotFound(media_id)
    save_image(tx, replace(found, parameters=None), owner, now, source)


def save_result_images(tx: Connection, row: JobRow, images: Sequence[StoredImage], now: datetime) -> None:
    source = find_source(tx, row)
    for position, image in enumerate(images):
        save_image(tx, image, row.owner, now, source)
        use = {"job": row.id, "role": "output", "position": position, "media": image.id, "owner": row.owner}
        tx.execute(insert(job_media), use)


def save_sheet(tx: Connection, job_id: str, composed: Sequence[str], sheet: StoredImage, now: datetime) -> bool:
    """Keep a job's composed picture, unless one of the images in it was deleted meanwhile."""
    row = tx.execute(select(job).where(job.c.id == job_id, job.c.erased.is_(False))).one_or_none()
    result = None if row is None else to_result(row.result)
    if row is None or result is None or [image.id for image in result.media] != list(composed):
        return False
    if find_sheet(tx, job_id) is None:
        save_image(tx, sheet, row.owner, now, find_source(tx, row))
        use = {"job": job_id, "role": SHEET, "position": 0, "media": sheet.id, "owner": row.owner}
        tx.execute(insert(job_media), use)
    return True


def find_sheet(tx: Connection, job_id: str) -> StoredImage | None:
    """A job's composed picture, if it was kept."""
    m = media.c
    query = select(m.id, m.media_type, m.width, m.height, m.size).join(job_media, job_media.c.media == m.id)
    row = tx.execute(query.where(job_media.c.job == job_id, job_media.c.role == SHEET)).one_or_none()
    return None if row is None else StoredImage(**row._mapping)


def disown_if_unused(tx: Connection, ids: Sequence[str], owner: str) -> list[tuple[str, str]]:
    """Disown those of the images that none of the owner's jobs uses; returns (id, type) of those that nobody owns any
    more."""
    o = media_owner.c
    gone = delete(media_owner).where(o.media.in_(ids), o.owner == owner, ~is_used()).returning(o.media)
    disowned = list(tx.scalars(gone))
    return delete_ownerless(tx, disowned)


def delete_ownerless(tx: Connection, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Delete those of the images that nobody owns any more, with what was computed from them; returns (id, type)."""
    is_owned = exists().where(media_owner.c.media == media.c.id)
    ownerless = list(tx.scalars(select(media.c.id).where(media.c.id.in_(ids), ~is_owned)))
    tx.execute(delete(embedding).where(embedding.c.media.in_(ownerless)))
    deleted = tx.execute(delete(media).where(media.c.id.in_(ownerless)).returning(media))
    return [(row.id, row.media_type) for row in deleted]


def embedding_bytes() -> ColumnElement[int]:
    """What a row of `embedding` holds, in bytes."""
    return 2 * embedding.c.width * (embedding.c.count + 1)


def sum_uploads(tx: Connection, owner: str, since: datetime) -> tuple[int, datetime | None]:
    """Bytes of the owner's uploads since then, and the time of the first.

    A result is no upload, and equal bytes are stored once: they count for their first owner only.
    """
    o, earlier = media_owner.c, media_owner.alias()
    is_result = exists().where(
        job_media.c.media == o.media, job_media.c.owner == o.owner, job_media.c.role.in_(["output", SHEET])
    )
    is_shared = exists().where(
        earlier.c.media == o.media, earlier.c.owner != o.owner, earlier.c.kept_since < o.kept_since
    )
    query = select(func.coalesce(func.sum(media.c.size), 0), func.min(o.kept_since)).join(media_owner)
    is_made = is_result | is_sheet_of_grid()
    used, oldest_at = tx.execute(query.where(o.owner == owner, o.kept_since > since, ~is_made, ~is_shared)).one()
    return int(used), oldest_at


def list_parameters(tx: Connection, owner: str, since: datetime) -> list[Mapping[str, Any]]:
    """What the owner's latest images since then said about themselves, newest first."""
    o = media_owner.c
    query = select(o.parameters).where(o.owner == owner, o.kept_since > since, o.parameters.is_not(None))
    return list(tx.scalars(query.order_by(o.kept_since.desc()).limit(_MAX_RECALLED)))


def find_image(tx: Connection, media_id: str, owner: str | None) -> StoredImage | None:
    """Owner None: of any owner."""
    m, o = media.c, media_owner.c
    query = select(m.id, m.media_type, m.width, m.height, m.size, o.alt, o.parameters).join(media_owner)
    if owner is not None:
        query = query.where(o.owner == owner)
    row = tx.execute(query.where(m.id == media_id).limit(1)).one_or_none()
    return None if row is None else StoredImage(**row._mapping)
