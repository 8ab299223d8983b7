"""Enough of the queue to tell a person where a job stands."""

from sqlalchemy import ColumnElement, Connection, Table, func, select

from bot.jobs import JobState
from bot.ports import Lane, QueueView
from storage.rows import JobRow
from storage.schema import (
    IS_QUEUED,
    IS_RUNNING,
    PERSON_IS_ACTIVE,
    SPACE_IS_ACTIVE,
    job,
    person_load,
    person_share,
    space_share,
)

SAMPLE = 1000
"""Queued jobs that the mean estimate is taken over."""


def look(tx: Connection, job_id: str) -> QueueView | None:
    row = tx.execute(select(job).where(job.c.id == job_id, job.c.state == JobState.QUEUED)).one_or_none()
    if row is None:
        return None
    person, people = _lanes(
        tx, person_share, person_share.c.person == row.owner, person_share.c.space == row.space, PERSON_IS_ACTIVE
    )
    space, spaces = _lanes(tx, space_share, space_share.c.space == row.space, SPACE_IS_ACTIVE)
    sample = select(job.c.estimate_s).where(IS_QUEUED).limit(SAMPLE).subquery()
    return QueueView(
        own_ahead=_own_ahead(tx, row),
        person=person,
        people=people,
        space=space,
        spaces=spaces,
        mean_s=tx.scalar(select(func.avg(sample.c.estimate_s))) or 0.0,
        running=tx.scalar(select(func.count()).select_from(job).where(IS_RUNNING)) or 0,
        own_running=tx.scalar(select(person_load.c.running).where(person_load.c.person == row.owner)) or 0,
    )


def _own_ahead(tx: Connection, row: JobRow) -> int:
    line = (job.c.space == row.space, job.c.owner == row.owner, job.c.place < row.place)
    return tx.scalar(select(func.count()).select_from(job).where(*line, IS_QUEUED)) or 0


def _lanes(
    tx: Connection, share: Table, is_own: ColumnElement[bool], *conditions: ColumnElement[bool]
) -> tuple[Lane, tuple[Lane, ...]]:
    """The job's own lane, and the others that have jobs waiting."""
    columns = (share.c.vtime, share.c.backlog)
    own = tx.execute(select(*columns).where(is_own, *conditions)).one()
    others = tx.execute(select(*columns).where(~is_own, share.c.backlog > 0, *conditions))
    return Lane(vtime=own.vtime, backlog=own.backlog), tuple(
        Lane(vtime=vtime, backlog=backlog) for vtime, backlog in others
    )
