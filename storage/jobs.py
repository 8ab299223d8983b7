"""The durable queue: `bot.ports.JobStore` on the database."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, func, select, update

from bot.errors import JobNotFound, NotCancellable
from bot.jobs import ID_LENGTH, Job, JobError, JobState, Result
from bot.ports import AcceptResult, LeaseRenewal, Limits, NewJob, Offer, QueueView, RequestKey
from bot.ports.batches import NewBatch
from storage import accept, queue_view, transitions
from storage.accept import AcceptJobs
from storage.changes import announce_change
from storage.claim import ClaimJob
from storage.database import Database
from storage.discarded import DiscardedFiles
from storage.disk import DiskSpace
from storage.mapping import JobRow, next_version, to_job
from storage.schema import IS_BACKED_OFF, IS_ENDED, IS_QUEUED, SPACE_IS_ACTIVE, job, space_share, utcnow

SHORTEST_PREFIX = 4
_begins = job.alias("begins")


class SqlJobStore:
    def __init__(self, database: Database, disk: DiskSpace, discarded: DiscardedFiles) -> None:
        self._database = database
        self._disk = disk
        self._discarded = discarded

    async def accept_jobs(
        self,
        jobs: Sequence[NewJob],
        *,
        key: RequestKey | None,
        limits: Limits,
        quote: str | None = None,
        batch: NewBatch | None = None,
    ) -> AcceptResult:
        """A quote can be used once, like an idempotency key; it identifies its person and request."""
        if len({new.owner for new in jobs}) != 1:
            raise ValueError("the jobs of one request must have the same owner")
        keys = [*([key] if key else []), *([RequestKey(f"quote:{quote}", "")] if quote else [])]
        request = AcceptJobs(self._database.dialect, self._disk, tuple(jobs), keys, limits, batch)
        return await self._database.run_write(request)

    async def find_request(self, key: str) -> tuple[str, tuple[Job, ...]] | None:
        return await self._database.run_read(lambda tx: accept.find_request(tx, key))

    async def find_recent_request(self, prefix: str, body_hash: str, since: datetime) -> tuple[Job, ...]:
        return await self._database.run_read(lambda tx: accept.find_recent_request(tx, prefix, body_hash, since))

    async def claim_job(
        self, offer: Offer, *, max_running: int, lease_s: float, swap_wait_s: float, only: frozenset[str] | None = None
    ) -> Job | None:
        return await self._database.run_write(ClaimJob(offer, max_running, lease_s, swap_wait_s, only))

    async def renew_leases(self, leases: Mapping[str, int], lease_s: float) -> LeaseRenewal:
        current = dict(leases)
        return await self._database.run_write(lambda tx: transitions.renew_leases(tx, current, lease_s))

    async def save_result(self, job_id: str, attempt: int, result: Result) -> Job | None:
        dialect = self._database.dialect
        ended = await self._database.run_write(lambda tx: transitions.save_result(tx, dialect, job_id, attempt, result))
        if ended is None or ended.state is JobState.CANCELLED:
            self._discarded.add(result.media)
        return ended

    async def end_job(
        self, job_id: str, attempt: int, state: JobState, error: JobError | None, *, used_s: float = 0.0
    ) -> Job | None:
        if state not in (JobState.FAILED, JobState.DEAD, JobState.CANCELLED):
            raise ValueError(f"a job without a result cannot end as {state}")
        return await self._database.run_write(lambda tx: transitions.end_job(tx, job_id, attempt, state, error, used_s))

    async def orphaned(self, models: Collection[str], limit: int) -> list[Job]:
        waiting = select(job).where(IS_QUEUED, job.c.model.not_in(models)).order_by(job.c.seq).limit(limit)
        return await self._database.run_read(lambda tx: [to_job(row) for row in tx.execute(waiting)])

    async def fail_queued(self, job_id: str, error: JobError) -> Job | None:
        return await self._database.run_write(lambda tx: transitions.fail_queued(tx, job_id, error))

    async def requeue_job(
        self,
        job_id: str,
        attempt: int,
        *,
        crashed: bool,
        interrupted: bool,
        delay_s: float,
        exclusive: bool,
        used_s: float = 0.0,
        faultless: bool = False,
    ) -> Job | None:
        back = partial(
            transitions.requeue_job,
            crashed=crashed,
            interrupted=interrupted,
            delay_s=delay_s,
            exclusive=exclusive,
            used_s=used_s,
            faultless=faultless,
        )
        return await self._database.run_write(lambda tx: back(tx, job_id, attempt))

    async def requeue_interrupted(self, *, max_interruptions: int) -> int:
        return await self._database.run_write(
            lambda tx: transitions.requeue_running(tx, max_interruptions, only_expired=False)
        )

    async def requeue_expired(self, *, max_interruptions: int) -> int:
        return await self._database.run_write(
            lambda tx: transitions.requeue_running(tx, max_interruptions, only_expired=True)
        )

    async def request_cancel(self, job_id: str, owner: str) -> Job:
        return await self._database.run_write(lambda tx: _request_cancel(tx, job_id, owner))

    async def get_job(self, job_id: str, owner: str | None) -> Job:
        return await self._database.run_read(lambda tx: to_job(find_job(tx, job_id, owner)))

    async def has_earlier_result(self, job_id: str) -> bool:
        return await self._database.run_read(lambda tx: _has_earlier_result(tx, job_id))

    async def queue_view(self, job_id: str) -> QueueView | None:
        return await self._database.run_read(lambda tx: queue_view.read_queue_view(tx, job_id))

    async def count_by_state(self) -> Mapping[JobState, int]:
        return await self._database.run_read(_counts)

    async def next_due_s(self) -> float | None:
        now = utcnow()
        due_at = await self._database.run_read(
            lambda tx: tx.scalar(
                select(func.min(job.c.not_before)).where(IS_QUEUED, IS_BACKED_OFF, job.c.not_before > now)
            )
        )
        return None if due_at is None else (due_at - now).total_seconds()


def _has_earlier_result(tx: Connection, job_id: str) -> bool:
    """Scans from the oldest job, so it ends early for a space with results."""
    this = job.alias()
    earlier = (
        select(job.c.seq)
        .join(this, (this.c.space == job.c.space) & (job.c.seq < this.c.seq))
        .where(this.c.id == job_id, job.c.state.in_([JobState.RENDERED, JobState.DELIVERED]))
    )
    return tx.execute(earlier.limit(1)).first() is not None


def _counts(tx: Connection) -> dict[JobState, int]:
    """Open jobs, of which there may be many, are taken from the lanes' counters."""
    ended = tx.execute(select(job.c.state, func.count()).where(IS_ENDED).group_by(job.c.state))
    totals = func.coalesce(func.sum(space_share.c.backlog), 0), func.coalesce(func.sum(space_share.c.running), 0)
    queued, running = tx.execute(select(*totals).where(SPACE_IS_ACTIVE)).one()
    counts = {JobState(state): count for state, count in ended}
    return {**dict.fromkeys(JobState, 0), **counts, JobState.QUEUED: queued, JobState.RUNNING: running}


def find_job(tx: Connection, job_id: str, owner: str | None) -> JobRow:
    """By the full id or, with an owner, by a prefix that is unique among the owner's jobs.

    Raises:
        JobNotFound: there is none, there are several, or it is somebody else's.
    """
    if not job_id.isascii():  # a lone surrogate could not even be asked for
        raise JobNotFound(job_id)
    query = select(job).where(job.c.erased.is_(False))
    if owner is not None:
        query = query.where(job.c.owner == owner)
    if owner is not None and SHORTEST_PREFIX <= len(job_id) < ID_LENGTH:
        beginning = select(_begins.c.seq).where(_begins.c.id >= job_id, _begins.c.id < job_id + "\U0010ffff")
        query = query.where(job.c.seq.in_(beginning))  # few: the owner's index would read all of the owner's jobs
    else:
        query = query.where(job.c.id == job_id)
    rows = tx.execute(query.limit(2)).all()
    if len(rows) != 1:
        raise JobNotFound(job_id)
    return rows[0]


def _request_cancel(tx: Connection, job_id: str, owner: str) -> Job:
    row = find_job(tx, job_id, owner)
    match row.state:
        case JobState.QUEUED:
            row = transitions.cancel_queued(tx, row)
        case JobState.RUNNING if not row.cancel_requested:
            cancelling = update(job).where(job.c.seq == row.seq, job.c.state == JobState.RUNNING)
            row = tx.execute(cancelling.values(cancel_requested=True, **next_version()).returning(job)).one()
            announce_change(tx, row.owner)
        case JobState.RUNNING | JobState.CANCELLED:
            pass
        case _:
            raise NotCancellable(row.id, row.state)
    return to_job(row)
