"""Where images and words first came from: it decides whether they may enter training."""

from sqlalchemy import Connection, select

from storage.mapping import JobRow
from storage.schema import job, job_media, media_owner

OWN_SOURCES = frozenset({"web", "cli"})
"""Platforms whose images only their owner has chosen: everything else came from a chat or another program."""
MAX_SOURCE = 32


def find_source(tx: Connection, row: JobRow) -> str | None:
    """Of what a job says and makes: where the job came from, or what it was made from if that did not come from its
    owner: its images, or the words and images of the jobs that it follows from. None: unknown, as one was erased."""
    source = _origin_source(row)
    while (found := _origin_source(row)) in OWN_SOURCES:
        images = _image_sources(tx, row)
        if foreign := [one for _, one in images if one not in OWN_SOURCES]:
            return foreign[0]
        parent = row._mapping[job.c.parent]
        has_inherited = any(role == "output" for role, _ in images)
        if parent is None or has_inherited:
            return source
        earlier = tx.execute(select(job).where(job.c.id == parent)).one_or_none()
        if earlier is None or earlier.erased:
            return None
        row = earlier
    return found


def _origin_source(row: JobRow) -> str:
    origin = row._mapping[job.c.origin]
    return str(origin.get("extra", {}).get("client") or origin["platform"])[:MAX_SOURCE]


def _image_sources(tx: Connection, row: JobRow) -> list[tuple[str, str | None]]:
    """Of all images of a job, with their role."""
    o, u = media_owner.c, job_media.c
    owned = (u.media == o.media) & (u.owner == o.owner)
    found = tx.execute(select(u.role, o.source).join(media_owner, owned).where(u.job == row._mapping[job.c.id]))
    return [(use.role, use.source) for use in found]
