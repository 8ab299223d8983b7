"""Which pictures there are, whose they are and which jobs use them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from bot.errors import MediaNotFound
from bot.jobs import Picture
from storage.mapping import JobRow
from storage.schema import job_media, media, media_owner


def keep(tx: Connection, picture: Picture, owner: str, now: datetime) -> None:
    """Make the picture the owner's; again is once, and counts as new."""
    if tx.scalar(select(media.c.id).where(media.c.id == picture.id)) is None:
        tx.execute(
            insert(media),
            {
                "id": picture.id,
                "media_type": picture.media_type,
                "width": picture.width,
                "height": picture.height,
                "size": picture.size,
            },
        )
    m = media_owner.c
    told = {"parameters": picture.parameters} if picture.parameters is not None else {}
    again = update(media_owner).where(m.media == picture.id, m.owner == owner).values(kept_since=now, **told)
    if not tx.execute(again).rowcount:
        row = {"media": picture.id, "owner": owner, "alt": picture.alt, "kept_since": now}
        tx.execute(insert(media_owner), {**row, "parameters": picture.parameters})


def share(tx: Connection, media_id: str, owner: str, now: datetime) -> None:
    """Make a picture that somebody has the owner's, too. What its file said of itself stays with who uploaded it."""
    found = find(tx, media_id, None)
    if found is None:
        raise MediaNotFound(media_id)
    keep(tx, replace(found, parameters=None), owner, now)


def keep_results(tx: Connection, row: JobRow, pictures: Sequence[Picture], now: datetime) -> None:
    for position, picture in enumerate(pictures):
        keep(tx, picture, row.owner, now)
        use = {"job": row.id, "role": "output", "position": position, "media": picture.id, "owner": row.owner}
        tx.execute(insert(job_media), use)


def find(tx: Connection, media_id: str, owner: str | None) -> Picture | None:
    """Owner None: whoever's."""
    m, o = media.c, media_owner.c
    query = select(m.id, m.media_type, m.width, m.height, m.size, o.alt, o.parameters).join(media_owner)
    if owner is not None:
        query = query.where(o.owner == owner)
    row = tx.execute(query.where(m.id == media_id).limit(1)).one_or_none()
    return None if row is None else Picture(**row._mapping)
