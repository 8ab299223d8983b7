"""Taking away what is a person's: one job, or everything. Blocking parts and files are `privacy`'s.

Rows that the books hang on stay, empty and without a name: jobs, ledger, quota. `audit.problems` finds nothing to say.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update

from bot.jobs import Job, JobError, JobState, Origin, Result
from storage import transitions
from storage.dialect import Dialect
from storage.mapping import JobRow, from_result, to_job
from storage.schema import (
    IS_PENDING,
    account,
    api_key,
    job,
    job_media,
    media,
    media_owner,
    message,
    outbox,
    person,
    person_setting,
    person_share,
    space,
    space_share,
    utcnow,
)

NOBODY = "somebody"
"""What a forgotten person is called."""


@dataclass(frozen=True)
class Erased:
    """The jobs as they were, and the files that nobody owns now as (id, type)."""

    jobs: tuple[Job, ...]
    files: tuple[tuple[str, str], ...]


def erase(tx: Connection, dialect: Dialect, rows: Sequence[JobRow]) -> Erased:
    files: list[tuple[str, str]] = []
    for row in rows:
        if row.state == JobState.QUEUED:
            transitions.cancel_queued(tx, row)
        elif row.state == JobState.RUNNING:
            tx.execute(update(job).where(job.c.seq == row.seq).values(cancel_requested=True))
        _keep_silent(tx, row.id)
        dialect.remove_text(tx, row.seq)
        tx.execute(update(job).where(job.c.seq == row.seq).values(version=job.c.version + 1, **_emptied(row)))
        files += _drop_media(tx, row)
    return Erased(tuple(to_job(row) for row in rows), tuple(files))


def _keep_silent(tx: Connection, job_id: str) -> None:
    """Nothing of it is delivered any more, and no message leads to it."""
    mine = outbox.c.job == job_id
    tx.execute(update(outbox).where(mine, IS_PENDING).values(state="undeliverable"))
    tx.execute(update(outbox).where(mine).values(message_ref=None, reason=""))
    tx.execute(delete(message).where(message.c.job == job_id))


def _emptied(row: JobRow) -> dict[str, Any]:
    origin = row._mapping[job.c.origin]
    nobody = Origin(platform=origin["platform"], space_id="", account_id="", locale=origin.get("locale", "en"))
    error = row._mapping[job.c.error]
    return {
        "erased": True,
        "origin": asdict(nobody),
        "options": {},
        "images": [],
        "parent": None,
        "batch": None,
        "result": None if row.result is None else from_result(Result()),
        "error": None if error is None else asdict(JobError(code=error["code"], message="")),
    }


def _drop_media(tx: Connection, row: JobRow) -> list[tuple[str, str]]:
    """The job's pictures that no other job of its owner uses."""
    used = list(tx.scalars(delete(job_media).where(job_media.c.job == row.id).returning(job_media.c.media)))
    if not used:
        return []
    m = media_owner.c
    is_used = exists().where(job_media.c.media == m.media, job_media.c.owner == m.owner)
    return _disown(tx, m.media.in_(used) & (m.owner == row.owner) & ~is_used)


def _disown(tx: Connection, condition: ColumnElement[bool]) -> list[tuple[str, str]]:
    """Returns (id, type) of the pictures that nobody owns now."""
    mine = list(tx.scalars(delete(media_owner).where(condition).returning(media_owner.c.media)))
    ownerless = media.c.id.in_(mine) & ~exists().where(media_owner.c.media == media.c.id)
    return [(row.id, row.media_type) for row in tx.execute(delete(media).where(ownerless).returning(media))]


def begin_forgetting(tx: Connection, person_id: str) -> None:
    """From now on nothing is accepted from them, and whoever comes by their account is somebody new."""
    tx.execute(update(person).where(person.c.id == person_id).values(forgotten=True, name=NOBODY))
    for table in (account, api_key, person_setting):
        tx.execute(delete(table).where(table.c.person == person_id))


def jobs_left(tx: Connection, person_id: str, limit: int) -> list[JobRow]:
    mine = select(job).where(job.c.owner == person_id, job.c.erased.is_(False)).order_by(job.c.seq.desc()).limit(limit)
    return list(tx.execute(mine))


def end_forgetting(tx: Connection, person_id: str) -> list[tuple[str, str]]:
    """Uploads that no job used, and the names of rooms where nobody else ever was: a private chat's is its person's."""
    only_theirs = (
        select(person_share.c.space)
        .where(person_share.c.person == person_id)
        .except_(select(person_share.c.space).where(person_share.c.person != person_id))
    )
    for room in list(tx.scalars(only_theirs)):
        _rename(tx, room)
    return _disown(tx, media_owner.c.owner == person_id)


def _rename(tx: Connection, room: str) -> None:
    old = tx.execute(select(space).where(space.c.id == room)).one()
    new = f"{old.platform}:forgotten-{secrets.token_hex(8)}"
    tx.execute(insert(space), {"id": new, "platform": old.platform, "created_at": utcnow()})
    for table in (job, space_share, person_share):
        tx.execute(update(table).where(table.c.space == room).values(space=new))
    tx.execute(delete(space).where(space.c.id == room))
