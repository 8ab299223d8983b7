"""Accepting jobs: all of them or none, in one transaction, and the same request only once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from bot.errors import IdempotencyConflict, MediaNotFound, NotFound, QueueFull
from bot.jobs import Job
from bot.ports import Accepted, Limits, NewJob, RequestKey
from storage import fair_share, ledger
from storage.dialect import Dialect
from storage.disk import Disk
from storage.mapping import new_row, space_of, to_job
from storage.outbox import announce
from storage.schema import SPACE_IS_ACTIVE, inbox, job, job_media, media_owner, person, person_load, space_share, utcnow

RETRY_FULL_S = 30
"""When to ask again after `QueueFull`: about as long as a few jobs take."""

_KNOWN = select(inbox.c.body_hash, inbox.c.jobs).where(inbox.c.key == bindparam("of_key"))
_ALL_QUEUED = select(func.sum(space_share.c.backlog)).where(SPACE_IS_ACTIVE)
_PLACES = person_load.c.outstanding + bindparam("wanted")
_TAKE_PLACES = (
    update(person_load)
    .where(person_load.c.person == bindparam("of_person"), bindparam("limit") >= _PLACES)
    .values(outstanding=_PLACES)
)
_FORGOTTEN = select(person.c.forgotten).where(person.c.id == bindparam("of_person"))
_LAST = select(func.max(job.c.seq))
_JOBS = select(job).where(job.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True)
class Acceptance:
    """One request to accept; call it with the transaction. Seen under any of its keys before, it is the same again."""

    dialect: Dialect
    disk: Disk
    jobs: Sequence[NewJob]
    keys: Sequence[RequestKey]
    limits: Limits

    def __call__(self, tx: Connection) -> Accepted:
        if known := self._known(tx):
            return known
        self.disk.require_room()
        if tx.scalar(_FORGOTTEN, {"of_person": self.owner}):
            raise NotFound("person", self.owner)
        self._check_images(tx)
        now = utcnow()
        self._take_places(tx)
        stored = self._store(tx, now)
        ledger.reserve(tx, self.owner, [(new.id, new.cost) for new in stored], self.limits.daily_s, now)
        self._remember(tx, now)
        return Accepted(load(tx, [new.id for new in stored]), replayed=False)

    @property
    def owner(self) -> str:
        return self.jobs[0].owner

    def _known(self, tx: Connection) -> Accepted | None:
        """What this request got when it came before, even if it would be refused now."""
        for key in self.keys:
            row = tx.execute(_KNOWN, {"of_key": key.key}).one_or_none()
            if row is not None and row.body_hash != key.body_hash:
                raise IdempotencyConflict(key.key)
            if row is not None:
                return Accepted(load(tx, row.jobs), replayed=True)
        return None

    def _remember(self, tx: Connection, now: datetime) -> None:
        ids = [new.id for new in self.jobs]
        for key in self.keys:
            tx.execute(insert(inbox), {"key": key.key, "body_hash": key.body_hash, "jobs": ids, "created_at": now})

    def _check_images(self, tx: Connection) -> None:
        named = {image.id for new in self.jobs for image in new.images}
        if not named:
            return
        m = media_owner.c
        owned = set(tx.scalars(select(m.media).where(m.owner == self.owner, m.media.in_(named))))
        for missing in sorted(named - owned):
            raise MediaNotFound(missing)

    def _take_places(self, tx: Connection) -> None:
        wanted = len(self.jobs)
        queued = tx.scalar(_ALL_QUEUED) or 0
        if queued + wanted > self.limits.house_queued:
            raise QueueFull(limit=self.limits.house_queued, retry_after_s=RETRY_FULL_S, whole_house=True)
        places = {"of_person": self.owner, "wanted": wanted, "limit": self.limits.outstanding}
        if not tx.execute(_TAKE_PLACES, places).rowcount:
            raise QueueFull(limit=self.limits.outstanding, retry_after_s=RETRY_FULL_S)

    def _store(self, tx: Connection, now: datetime) -> list[NewJob]:
        """Returns the jobs as stored, with costs in whole microseconds."""
        first = (tx.scalar(_LAST) or 0) + 1
        stored = [replace(new, cost=round(new.cost, 6)) for new in self.jobs]
        by_space = Counter((space_of(new.origin), new.origin.platform) for new in stored)
        for (space, platform), count in by_space.items():
            fair_share.join(tx, space_id=space, platform=platform, person=self.owner, jobs=count, now=now)
        tx.execute(insert(job), [new_row(new, seq, now) for seq, new in enumerate(stored, first)])
        for seq, new in enumerate(stored, first):
            self.dialect.add_text(tx, seq, new.owner, new.needle)
            if new.wants_delivery:
                announce(tx, new.id, "placeholder", now)
        if used := [use for new in stored for use in _uses(new)]:
            tx.execute(insert(job_media), used)
        return stored


def seen(tx: Connection, key: str) -> tuple[str, tuple[Job, ...]] | None:
    """What a key was used for, without the jobs that were erased since."""
    row = tx.execute(_KNOWN, {"of_key": key}).one_or_none()
    if row is None:
        return None
    kept = set(tx.scalars(select(job.c.id).where(job.c.id.in_(row.jobs), job.c.erased.is_(False))))
    return row.body_hash, load(tx, [job_id for job_id in row.jobs if job_id in kept])


def load(tx: Connection, ids: Sequence[str]) -> tuple[Job, ...]:
    """The jobs with these ids, in this order."""
    found = {row.id: to_job(row) for row in tx.execute(_JOBS, {"ids": ids})}
    return tuple(found[job_id] for job_id in ids)


def _uses(new: NewJob) -> list[dict[str, object]]:
    return [
        {"job": new.id, "role": image.role, "position": position, "media": image.id, "owner": new.owner}
        for position, image in enumerate(new.images)
    ]
