"""Finding the fairest job that a device can run, at a cost that does not grow with the queue.

Every search walks lanes in the order of an index and stops at the first that has a runnable job; within a lane
it looks up the first job of each model offered. Nothing is ever sorted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, exists, or_, select, update

from bot.jobs import Job, JobState
from bot.ports import Offer
from storage import lanes
from storage.rows import JobRow, to_job
from storage.schema import (
    IS_ALONE,
    IS_QUEUED,
    PERSON_IS_ACTIVE,
    SPACE_IS_ACTIVE,
    job,
    person_load,
    person_share,
    space_share,
    utcnow,
)


@dataclass(frozen=True)
class Claim:
    """One device's wish for a job; call it with the transaction."""

    offer: Offer
    max_running: int
    lease_s: float
    swap_wait_s: float
    only: frozenset[str] | None

    def __call__(self, tx: Connection) -> Job | None:
        now = utcnow()
        found = self._choose(tx, now)
        if found is None:
            return None
        lanes.start(tx, found)
        claimed = update(job).where(job.c.seq == found.seq, IS_QUEUED)
        row = tx.execute(
            claimed.values(
                state=JobState.RUNNING,
                attempt=job.c.attempt + 1,
                version=job.c.version + 1,
                not_before=None,
                started_at=now,
                lease_until=now + timedelta(seconds=self.lease_s),
            ).returning(job)
        ).one()
        return to_job(row)

    def _choose(self, tx: Connection, now: datetime) -> JobRow | None:
        if self.only is not None:
            return self._among(tx, self.only, now)
        if self.offer.idle and (lonely := self._alone(tx, now)):
            return lonely
        fairest = self._fairest(tx, self.offer.models, now)
        if fairest is None or fairest.model in self.offer.warm or self._has_waited(fairest, now):
            return fairest
        return self._fairest(tx, self.offer.warm & self.offer.models, now) or fairest

    def _has_waited(self, row: JobRow, now: datetime) -> bool:
        waited: timedelta = now - row.queued_at
        return waited >= timedelta(seconds=self.swap_wait_s)

    def _fairest(self, tx: Connection, models: frozenset[str], now: datetime) -> JobRow | None:
        """The oldest job for these models of the fairest person of the fairest space that has any."""
        if not models:
            return None
        runnable = exists().where(
            job.c.space == person_share.c.space,
            job.c.owner == person_share.c.person,
            job.c.model.in_(models),
            ~IS_ALONE,
            _is_due(now),
            IS_QUEUED,
        )
        person_can = (PERSON_IS_ACTIVE, person_share.c.backlog > 0, self._may_run(person_share.c.person), runnable)
        space_can = exists().where(person_share.c.space == space_share.c.space, *person_can)
        space: str | None = tx.scalar(
            select(space_share.c.space)
            .where(SPACE_IS_ACTIVE, space_share.c.backlog > 0, space_can)
            .order_by(space_share.c.vtime, space_share.c.space)
            .limit(1)
        )
        if space is None:
            return None
        person: str = tx.execute(
            select(person_share.c.person)
            .where(person_share.c.space == space, *person_can)
            .order_by(person_share.c.vtime, person_share.c.person)
            .limit(1)
        ).scalar_one()
        return _oldest(self._first(tx, space, person, model, now) for model in sorted(models))

    def _first(self, tx: Connection, space: str, person: str, model: str, now: datetime) -> JobRow | None:
        lane = (job.c.space == space, job.c.owner == person, job.c.model == model)
        return tx.execute(
            select(job).where(*lane, ~IS_ALONE, _is_due(now), IS_QUEUED).order_by(job.c.place).limit(1)
        ).one_or_none()

    def _alone(self, tx: Connection, now: datetime) -> JobRow | None:
        """These had their turn before and lost it to a crash, so the oldest goes first. They are few."""
        return tx.execute(
            select(job)
            .where(IS_QUEUED, IS_ALONE, job.c.model.in_(self.offer.models), _is_due(now))
            .where(self._may_run(job.c.owner))
            .order_by(job.c.place)
            .limit(1)
        ).one_or_none()

    def _among(self, tx: Connection, ids: frozenset[str], now: datetime) -> JobRow | None:
        wanted = select(job).where(
            job.c.id.in_(ids),
            job.c.state == JobState.QUEUED,
            job.c.model.in_(self.offer.models),
            _is_due(now),
            self._may_run(job.c.owner),
        )
        if not self.offer.idle:
            wanted = wanted.where(~IS_ALONE)
        return tx.execute(wanted.order_by(job.c.place).limit(1)).one_or_none()

    def _may_run(self, person: ColumnElement[str]) -> ColumnElement[bool]:
        running = select(person_load.c.running).where(person_load.c.person == person).scalar_subquery()
        return running < self.max_running


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(job.c.not_before.is_(None), job.c.not_before <= now)


def _oldest(rows: Iterable[JobRow | None]) -> JobRow | None:
    return min((row for row in rows if row is not None), key=lambda row: row.place, default=None)
