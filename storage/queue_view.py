"""Reads the part of the queue that determines a job's position, in two statements: every queued placeholder needs
it."""

from sqlalchemy import Connection, bindparam, func, literal_column, select, union_all

from bot.jobs import JobState
from bot.ports import FairShareLane, QueueView
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
"""Number of queued jobs sampled for the mean estimate."""

_it = job.alias("it")
_sample = select(job.c.estimate_s).where(IS_QUEUED).limit(SAMPLE).subquery()
_JOB_IN_QUEUE = (
    select(
        _it.c.space,
        _it.c.owner,
        person_share.c.vtime.label("person_vtime"),
        person_share.c.backlog.label("person_backlog"),
        space_share.c.vtime.label("space_vtime"),
        space_share.c.backlog.label("space_backlog"),
        select(func.count())
        .select_from(job)
        .where(job.c.space == _it.c.space, job.c.owner == _it.c.owner, job.c.place < _it.c.place, IS_QUEUED)
        .correlate(_it)
        .scalar_subquery()
        .label("own_ahead"),
        select(func.avg(_sample.c.estimate_s)).scalar_subquery().label("mean_s"),
        select(func.count()).select_from(job).where(IS_RUNNING).correlate(None).scalar_subquery().label("running"),
        person_load.c.running.label("own_running"),
    )
    .select_from(_it)
    .join(person_share, (person_share.c.space == _it.c.space) & (person_share.c.person == _it.c.owner))
    .join(space_share, space_share.c.space == _it.c.space)
    .outerjoin(person_load, person_load.c.person == _it.c.owner)
    .where(_it.c.id == bindparam("of_id"), _it.c.state == JobState.QUEUED, PERSON_IS_ACTIVE, SPACE_IS_ACTIVE)
)
_OTHER_LANES = union_all(
    select(literal_column("1").label("is_person"), person_share.c.vtime, person_share.c.backlog).where(
        person_share.c.space == bindparam("of_space"),
        person_share.c.person != bindparam("of_person"),
        person_share.c.backlog > 0,
        PERSON_IS_ACTIVE,
    ),
    select(literal_column("0"), space_share.c.vtime, space_share.c.backlog).where(
        space_share.c.space != bindparam("of_space"), space_share.c.backlog > 0, SPACE_IS_ACTIVE
    ),
)
"""The lanes with waiting jobs, except the job's own."""


def read_queue_view(tx: Connection, job_id: str) -> QueueView | None:
    row = tx.execute(_JOB_IN_QUEUE, {"of_id": job_id}).one_or_none()
    if row is None:
        return None
    others = tx.execute(_OTHER_LANES, {"of_space": row.space, "of_person": row.owner}).all()
    return QueueView(
        own_ahead=row.own_ahead,
        person=FairShareLane(vtime=row.person_vtime, backlog=row.person_backlog),
        people=tuple(FairShareLane(vtime=vtime, backlog=backlog) for is_person, vtime, backlog in others if is_person),
        space=FairShareLane(vtime=row.space_vtime, backlog=row.space_backlog),
        spaces=tuple(
            FairShareLane(vtime=vtime, backlog=backlog) for is_person, vtime, backlog in others if not is_person
        ),
        mean_s=row.mean_s or 0.0,
        running=row.running,
        own_running=row.own_running or 0,
    )
