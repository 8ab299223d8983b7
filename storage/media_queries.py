"""Queries for stored images, their owners and the jobs that use them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, exists, func, insert, literal, select, update

from bot.errors import MediaNotFound
from bot.jobs import StoredImage
from storage.mapping import JobRow
from storage.schema import job_media, media, media_owner


def save_image(tx: Connection, image: StoredImage, owner: str, now: datetime) -> None:
    """Make the owner an owner of the image. Idempotent; repeating it renews the image's age."""
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
        tx.execute(insert(media_owner), {**row, "parameters": image.parameters})


def share_image(tx: Connection, media_id: str, owner: str, now: datetime) -> None:
    """Add an owner to a stored image; the parameters from its file stay with the uploader."""
    found = find_image(tx, media_id, None)
    if found is None:
        raise MediaNotFound(media_id)
    save_image(tx, replace(found, parameters=None), owner, now)


def save_result_images(tx: Connection, row: JobRow, images: Sequence[StoredImage], now: datetime) -> None:
    for position, image in enumerate(images):
        save_image(tx, image, row.owner, now)
        use = {"job": row.id, "role": "output", "position": position, "media": image.id, "owner": row.owner}
        tx.execute(insert(job_media), use)


def sum_uploads(tx: Connection, owner: str, since: datetime) -> tuple[int, datetime | None]:
    """Bytes of the owner's uploads since then, and the time of the first.

    A result is no upload, and equal bytes are stored once: they count for their first owner only.
    """
    o, earlier = media_owner.c, media_owner.alias()
    is_result = exists().where(
        job_media.c.media == o.media, job_media.c.owner == o.owner, job_media.c.role == literal("output")
    )
    is_shared = exists().where(
        earlier.c.media == o.media, earlier.c.owner != o.owner, earlier.c.kept_since < o.kept_since
    )
    query = select(func.coalesce(func.sum(media.c.size), 0), func.min(o.kept_since)).join(media_owner)
    used, oldest_at = tx.execute(query.where(o.owner == owner, o.kept_since > since, ~is_result, ~is_shared)).one()
    return int(used), oldest_at


def find_image(tx: Connection, media_id: str, owner: str | None) -> StoredImage | None:
    """Owner None: of any owner."""
    m, o = media.c, media_owner.c
    query = select(m.id, m.media_type, m.width, m.height, m.size, o.alt, o.parameters).join(media_owner)
    if owner is not None:
        query = query.where(o.owner == owner)
    row = tx.execute(query.where(m.id == media_id).limit(1)).one_or_none()
    return None if row is None else StoredImage(**row._mapping)
