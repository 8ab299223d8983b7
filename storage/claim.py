"""Claims the fairest job that a device can run, at a cost independent of the queue's length.

Each search scans lanes in index order and stops at the first with a runnable job; within a lane it looks up the first
job of each offered model. Nothing is sorted. `max_running` limits a person only while somebody who has fewer running
jobs waits: otherwise another search hands out what the device can spare.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, and_, bindparam, exists, or_, select, update

from bot.jobs import Job, JobState
from bot.ports import Offer
from storage import fair_share
from storage.changes import announce_change
from storage.mapping import JobRow, next_version, to_job
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

ANY_NUMBER = 2**31 - 1
"""`max_running` of people who may have any number of running jobs."""


def _may_run(person: ColumnElement[str]) -> ColumnElement[bool]:
    running = select(person_load.c.running).where(person_load.c.person == person).scalar_subquery()
    return running < bindparam("max_running")


_IS_DUE = or_(job.c.not_before.is_(None), job.c.not_before <= bindparam("now"))
_IS_OFFERED = job.c.model.in_(bindparam("models", expanding=True))

_HAS_RUNNABLE = exists().where(
    job.c.space == person_share.c.space,
    job.c.owner == person_share.c.person,
    IS_QUEUED,
    _IS_OFFERED,
    ~IS_ALONE,
    _IS_DUE,
)
_PERSON_HAS_RUNNABLE = and_(
    PERSON_IS_ACTIVE, person_share.c.backlog > 0, _may_run(person_share.c.person), _HAS_RUNNABLE
)
_SPACE_HAS_RUNNABLE = exists().where(person_share.c.space == space_share.c.space, _PERSON_HAS_RUNNABLE)

FAIREST_SPACE = (
    select(space_share.c.space)
    .where(SPACE_IS_ACTIVE, space_share.c.backlog > 0, _SPACE_HAS_RUNNABLE)
    .order_by(space_share.c.vtime, space_share.c.space)
    .limit(1)
)
FAIREST_PERSON = (
    select(person_share.c.person)
    .where(person_share.c.space == bindparam("of_space"), _PERSON_HAS_RUNNABLE)
    .order_by(person_share.c.vtime, person_share.c.person)
    .limit(1)
)
OLDEST_JOB = (
    select(job)
    .where(
        job.c.space == bindparam("of_space"),
        job.c.owner == bindparam("of_person"),
        job.c.model == bindparam("of_model"),
        IS_QUEUED,
        ~IS_ALONE,
        _IS_DUE,
    )
    .order_by(job.c.place)
    .limit(1)
)
OLDEST_EXCLUSIVE_JOB = (
    select(job).where(IS_QUEUED, IS_ALONE, _IS_OFFERED, _IS_DUE, _may_run(job.c.owner)).order_by(job.c.place).limit(1)
)
OLDEST_OF_IDS = (
    select(job)
    .where(
        job.c.id.in_(bindparam("ids", expanding=True)),
        job.c.state == JobState.QUEUED,
        or_(~IS_ALONE, bindparam("idle", type_=Boolean)),
        _IS_OFFERED,
        _IS_DUE,
        _may_run(job.c.owner),
    )
    .order_by(job.c.place)
    .limit(1)
)
START_JOB = (
    update(job)
    .where(job.c.seq == bindparam("of_seq"), IS_QUEUED)
    .values(
        state=JobState.RUNNING,
        attempt=job.c.attempt + 1,
        **next_version(),
        not_before=None,
        started_at=bindparam("now"),
        lease_until=bindparam("until"),
    )
    .returning(job)
)


@dataclass(frozen=True)
class ClaimJob:
    """One device's claim; called with the transaction."""

    offer: Offer
    max_running: int
    lease_s: float
    swap_wait_s: float
    only: frozenset[str] | None

    def __call__(self, tx: Connection) -> Job | None:
        now = utcnow()
        row = self._choose_job(tx, now)
        if row is None:
            return None
        fair_share.start_job(tx, row)
        announce_change(tx, row.owner)
        until = now + timedelta(seconds=self.lease_s)
        return to_job(tx.execute(START_JOB, {"of_seq": row.seq, "now": now, "until": until}).one())

    def _choose_job(self, tx: Connection, now: datetime) -> JobRow | None:
        offered, deferred = self.offer.models, self.offer.deferred
        if self.only is not None:
            ids = {"ids": list(self.only), "idle": self.offer.is_idle}
            return tx.execute(OLDEST_OF_IDS, {**self._search_values(offered, now), **ids}).one_or_none()
        # The few exclusive jobs lost their earlier run to a crash, so the oldest of them goes first.
        exclusive = tx.execute(
            OLDEST_EXCLUSIVE_JOB, self._search_values(offered | deferred | self.offer.full, now)
        ).one_or_none()
        if exclusive is not None:
            if self.offer.is_idle:
                return exclusive
            if self._has_waited(exclusive, now):
                return None  # let the device drain: a busy one would never become idle
        fairest = self._fairest_job(tx, offered | deferred, now)
        if fairest is not None and fairest.model in deferred:
            if self._may_swap(fairest, now):
                return None  # let the device drain
            fairest = self._fairest_job(tx, offered, now)
            if fairest is None:
                return None  # somebody waits for the device to drain
        if fairest is None:
            return self._spare_job(tx, now)
        if fairest.model in self.offer.loaded or self._may_swap(fairest, now):
            return fairest
        return self._fairest_job(tx, self.offer.loaded & offered, now) or fairest

    def _may_swap(self, row: JobRow, now: datetime) -> bool:
        """Both the job and the last loaded model had their time."""
        return self._has_waited(row, now) and self.offer.since_load_s >= self.swap_wait_s

    def _has_waited(self, row: JobRow, now: datetime) -> bool:
        waited: timedelta = now - row.queued_at
        return waited >= timedelta(seconds=self.swap_wait_s)

    def _spare_job(self, tx: Connection, now: datetime) -> JobRow | None:
        """A job of somebody who has `max_running` already, unless somebody who has fewer waits for a full model."""
        if not self.offer.spare or self._fairest_job(tx, self.offer.full, now) is not None:
            return None
        return self._fairest_job(tx, self.offer.spare & self.offer.loaded, now, max_running=ANY_NUMBER)

    def _fairest_job(
        self, tx: Connection, models: frozenset[str], now: datetime, max_running: int | None = None
    ) -> JobRow | None:
        """The oldest job for these models, of the fairest person in the fairest space that has one."""
        values = self._search_values(models, now)
        if max_running is not None:
            values["max_running"] = max_running
        space = tx.scalar(FAIREST_SPACE, values) if models else None
        if space is None:
            return None
        person = tx.execute(FAIREST_PERSON, {**values, "of_space": space}).scalar_one()
        lane = {"of_space": space, "of_person": person, "now": now}
        firsts = (tx.execute(OLDEST_JOB, {**lane, "of_model": model}).one_or_none() for model in sorted(models))
        return min((row for row in firsts if row is not None), key=lambda row: row.place, default=None)

    def _search_values(self, models: frozenset[str], now: datetime) -> dict[str, Any]:
        return {"models": sorted(models), "max_running": self.max_running, "now": now}
