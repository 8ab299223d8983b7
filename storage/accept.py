"""Accepts the jobs of a request: all or none, in one transaction, and each request only once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from bot.errors import Blocked, IdempotencyConflict, MediaNotFound, NotFound, QueueFull
from bot.jobs import Job
from bot.ports import AcceptResult, Limits, NewJob, RequestKey
from bot.ports.batches import NewBatch
from storage import fair_share, ledger
from storage.batch_rows import add_batches
from storage.changes import announce_change
from storage.dialect import Dialect
from storage.disk import DiskSpace
from storage.mapping import last_change, space_key, to_job, to_row
from storage.measuring import count_after_commit
from storage.outbox import enqueue_message
from storage.schema import SPACE_IS_ACTIVE, inbox, job, job_media, media_owner, person, person_load, space_share, utcnow

RETRY_FULL_S = 30
"""Retry-After for `QueueFull`: about the duration of a few jobs, seconds."""

_REQUEST_OF_KEY = select(inbox.c.body_hash, inbox.c.jobs).where(inbox.c.key == bindparam("of_key"))
_ALL_QUEUED = select(func.sum(space_share.c.backlog)).where(SPACE_IS_ACTIVE)
_NEW_OUTSTANDING = person_load.c.outstanding + bindparam("wanted")
_RESERVE_PLACES = (
    update(person_load)
    .where(person_load.c.person == bindparam("of_person"), bindparam("limit") >= _NEW_OUTSTANDING)
    .values(outstanding=_NEW_OUTSTANDING)
)
_STANDING = select(person.c.forgotten, person.c.blocked_at).where(person.c.id == bindparam("of_person"))
_LAST = select(func.max(job.c.seq))
_JOBS = select(job).where(job.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True)
class AcceptJobs:
    """One request to accept; called with the transaction. A replay under any of its keys returns the original jobs."""

    dialect: Dialect
    disk: DiskSpace
    jobs: Sequence[NewJob]
    keys: Sequence[RequestKey]
    limits: Limits
    batch: NewBatch | None = None

    def __call__(self, tx: Connection) -> AcceptResult:
        if known := self._find_replay(tx):
            return known
        self.disk.require_free_space()
        self._check_person(tx)
        self._check_images(tx)
        now = utcnow()
        self._reserve_places(tx)
        stored = self._store(tx, now)
        ledger.reserve_costs(tx, self.owner, [(new.id, new.cost) for new in stored], self.limits.daily_s, now)
        self._save_keys(tx, now)
        jobs = load_jobs(tx, [new.id for new in stored])
        count_after_commit(tx, lambda metrics: metrics.count_accepted(jobs))
        return AcceptResult(jobs, is_replay=False)

    @property
    def owner(self) -> str:
        return self.jobs[0].owner

    def _find_replay(self, tx: Connection) -> AcceptResult | None:
        """The answer to an earlier request with one of the keys, even if it would be refused now."""
        for key in self.keys:
            row = tx.execute(_REQUEST_OF_KEY, {"of_key": key.key}).one_or_none()
            if row is not None and row.body_hash != key.body_hash:
                raise IdempotencyConflict(key.key)
            if row is not None:
                return AcceptResult(load_jobs(tx, row.jobs), is_replay=True)
        return None

    def _save_keys(self, tx: Connection, now: datetime) -> None:
        ids = [new.id for new in self.jobs]
        for key in self.keys:
            tx.execute(insert(inbox), {"key": key.key, "body_hash": key.body_hash, "jobs": ids, "created_at": now})

    def _check_person(self, tx: Connection) -> None:
        """They may have been forgotten or blocked since the request began."""
        row = tx.execute(_STANDING, {"of_person": self.owner}).one_or_none()
        if row is not None and row.forgotten:
            raise NotFound("person", "")
        if row is not None and row.blocked_at is not None:
            raise Blocked("person")

    def _check_images(self, tx: Connection) -> None:
        named = {image.id for new in self.jobs for image in new.images}
        if not named:
            return
        m = media_owner.c
        owned = set(tx.scalars(select(m.media).where(m.owner == self.owner, m.media.in_(named))))
        for missing in sorted(named - owned):
            raise MediaNotFound(missing)

    def _reserve_places(self, tx: Connection) -> None:
        wanted = len(self.jobs)
        queued = tx.scalar(_ALL_QUEUED) or 0
        if queued + wanted > self.limits.total_queued:
            raise QueueFull(limit=self.limits.total_queued, retry_after_s=RETRY_FULL_S, is_global=True)
        places = {"of_person": self.owner, "wanted": wanted, "limit": self.limits.outstanding}
        if not tx.execute(_RESERVE_PLACES, places).rowcount:
            raise QueueFull(limit=self.limits.outstanding, retry_after_s=RETRY_FULL_S)

    def _store(self, tx: Connection, now: datetime) -> list[NewJob]:
        """Insert the jobs; returns them with costs rounded to microseconds."""
        first = (tx.scalar(_LAST) or 0) + 1
        stored = [replace(new, cost=round(new.cost, 6)) for new in self.jobs]
        by_space = Counter((space_key(new.origin), new.origin.platform) for new in stored)
        for (space, platform), count in by_space.items():
            fair_share.add_queued(tx, space_id=space, platform=platform, person=self.owner, jobs=count, now=now)
        changed = last_change(tx, self.owner) + 1
        rows = [to_row(new, first + index, changed + index, now) for index, new in enumerate(stored)]
        tx.execute(insert(job), rows)
        announce_change(tx, self.owner)
        for seq, new in enumerate(stored, first):
            self.dialect.add_text(tx, seq, new.owner, new.search_text)
            if new.wants_delivery:
                enqueue_message(tx, new.id, "placeholder", now)
        if names := {new.batch for new in stored if new.batch}:
            add_batches(tx, self.owner, [self.batch or NewBatch(id=name) for name in sorted(names)])
        if uses := [use for new in stored for use in _media_uses(new)]:
            tx.execute(insert(job_media), uses)
        return stored


def find_request(tx: Connection, key: str) -> tuple[str, tuple[Job, ...]] | None:
    """The request that used the key, without jobs that were erased since."""
    row = tx.execute(_REQUEST_OF_KEY, {"of_key": key}).one_or_none()
    if row is None:
        return None
    unerased = set(tx.scalars(select(job.c.id).where(job.c.id.in_(row.jobs), job.c.erased.is_(False))))
    return row.body_hash, load_jobs(tx, [job_id for job_id in row.jobs if job_id in unerased])


def find_recent_request(tx: Connection, prefix: str, body_hash: str, since: datetime) -> tuple[Job, ...]:
    """The jobs of the latest request since then whose key begins so and whose body has this hash."""
    of_call = inbox.c.key.startswith(prefix, autoescape=True) & (inbox.c.body_hash == body_hash)
    latest = select(inbox.c.key).where(inbox.c.created_at >= since, of_call).order_by(inbox.c.created_at.desc())
    key = tx.scalar(latest.limit(1))
    found = find_request(tx, key) if key is not None else None
    return found[1] if found is not None else ()


def load_jobs(tx: Connection, ids: Sequence[str]) -> tuple[Job, ...]:
    """The jobs with these ids, in this order."""
    found = {row.id: to_job(row) for row in tx.execute(_JOBS, {"ids": ids})}
    return tuple(found[job_id] for job_id in ids)


def _media_uses(new: NewJob) -> list[dict[str, object]]:
    return [
        {"job": new.id, "role": image.role, "position": position, "media": image.id, "owner": new.owner}
        for position, image in enumerate(new.images)
    ]
