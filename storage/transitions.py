"""Moving jobs out of the states they wait or run in, with all that hangs on it: quota, fairness, messages."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from bot.error_texts import explain
from bot.errors import InterruptedTooOften
from bot.jobs import TRANSITIONS, Job, JobError, JobState, Result
from bot.ports import Renewed
from storage import fair_share, ledger
from storage.dialect import Dialect
from storage.mapping import JobRow, from_result, to_job
from storage.media_queries import keep_results
from storage.outbox import announce
from storage.schema import IS_RUNNING, job, utcnow

FRONT = 1 << 52
"""A returned job's place is its number less this: before all that never ran, the oldest first."""

_CLAIMED = select(job).where(
    job.c.id == bindparam("of_id"), job.c.attempt == bindparam("of_attempt"), job.c.state == JobState.RUNNING
)


def _too_often(row: JobRow) -> JobError:
    error = InterruptedTooOften()
    locale = row._mapping[job.c.origin].get("locale", "en")
    return JobError(code=error.code, message=explain(error, locale=locale))


def render(tx: Connection, dialect: Dialect, job_id: str, attempt: int, result: Result) -> Job | None:
    row, now = running(tx, job_id, attempt), utcnow()
    if row is None:
        return None
    if row.cancel_requested:
        return to_job(_finish(tx, row, JobState.CANCELLED, now, used_s=result.seconds))
    keep_results(tx, row, result.media, now)
    dialect.append_text(tx, row.seq, result.text or "")
    done = _finish(tx, row, JobState.RENDERED, now, used_s=result.seconds, result=from_result(result))
    if not row.wants_delivery:
        done = change(tx, done, JobState.DELIVERED)
    return to_job(done)


def end(
    tx: Connection, job_id: str, attempt: int, state: JobState, error: JobError | None, used_s: float
) -> Job | None:
    row = running(tx, job_id, attempt)
    return None if row is None else to_job(_finish(tx, row, state, utcnow(), used_s=used_s, error=error))


def requeue(
    tx: Connection,
    job_id: str,
    attempt: int,
    *,
    crashed: bool,
    interrupted: bool,
    delay_s: float,
    alone: bool,
    used_s: float,
) -> Job | None:
    row, now = running(tx, job_id, attempt), utcnow()
    if row is None:
        return None
    counter = "crashes" if crashed else "interruptions" if interrupted else "failures"
    # A drain is the house's doing.
    charged_s = 0.0 if interrupted else min(row.estimate_s, used_s)
    return to_job(_return(tx, row, now, counter=counter, used_s=charged_s, delay_s=delay_s, alone=alone))


def recover(tx: Connection, max_interruptions: int, *, only_expired: bool) -> int:
    """Returns how many went back to the queue."""
    now = utcnow()
    orphans = select(job).where(IS_RUNNING).order_by(job.c.seq)
    if only_expired:
        orphans = orphans.where(job.c.lease_until < now)
    returned = 0
    for row in tx.execute(orphans).all():
        if row.interruptions >= max_interruptions and not row.cancel_requested:
            _finish(tx, row, JobState.FAILED, now, error=_too_often(row))
        else:
            after = _return(tx, row, now, counter="interruptions")
            returned += after.state == JobState.QUEUED
    return returned


def cancel_queued(tx: Connection, row: JobRow) -> JobRow:
    return _finish(tx, row, JobState.CANCELLED, utcnow(), cancel_requested=True)


def fail_queued(tx: Connection, job_id: str, error: JobError) -> Job | None:
    row = tx.execute(select(job).where(job.c.id == job_id, job.c.state == JobState.QUEUED)).one_or_none()
    return None if row is None else to_job(_finish(tx, row, JobState.FAILED, utcnow(), error=error))


def renew(tx: Connection, leases: Mapping[str, int], lease_s: float) -> Renewed:
    rows = tx.execute(select(job.c.id, job.c.attempt, job.c.cancel_requested).where(job.c.id.in_(leases), IS_RUNNING))
    ours = {row.id: row.cancel_requested for row in rows if row.attempt == leases[row.id]}
    until = utcnow() + timedelta(seconds=lease_s)
    tx.execute(update(job).where(job.c.id.in_(ours), IS_RUNNING).values(lease_until=until))
    cancel = frozenset(job_id for job_id, is_asked in ours.items() if is_asked)
    return Renewed(cancel=cancel, lost=frozenset(leases) - ours.keys())


def running(tx: Connection, job_id: str, attempt: int) -> JobRow | None:
    """The row while the claim with this fencing token stands."""
    return tx.execute(_CLAIMED, {"of_id": job_id, "of_attempt": attempt}).one_or_none()


def change(tx: Connection, row: JobRow, state: JobState, **values: Any) -> JobRow:
    """Move a job as `TRANSITIONS` allow; its row after."""
    if state not in TRANSITIONS[JobState(row.state)]:
        raise ValueError(f"a job cannot move from {row.state} to {state}")
    return tx.execute(
        update(job)
        .where(job.c.seq == row.seq, job.c.state == row.state)
        .values(state=state, version=job.c.version + 1, **values)
        .returning(job)
    ).one()


def _finish(
    tx: Connection,
    row: JobRow,
    state: JobState,
    now: datetime,
    *,
    used_s: float = 0.0,
    error: JobError | None = None,
    **values: Any,
) -> JobRow:
    """The one way to an end: it settles the ledger, corrects virtual time and owes the chat its message."""
    ledger.settle(tx, row, "capture" if state == JobState.RENDERED else "refund", now)
    if row.state == JobState.RUNNING:
        fair_share.leave_running(tx, row, used_s)
    else:
        fair_share.leave_queue(tx, row)
    if row.wants_delivery:
        announce(tx, row.id, "result", now, is_owed=not row.erased)
    told = None if error is None else asdict(error)
    return change(tx, row, state, finished_at=now, lease_until=None, not_before=None, error=told, **values)


def _return(
    tx: Connection,
    row: JobRow,
    now: datetime,
    *,
    counter: str,
    used_s: float = 0.0,
    delay_s: float = 0.0,
    alone: bool | None = None,
) -> JobRow:
    """Back to the front of its person's line, unless its person no longer wants it."""
    if row.cancel_requested:
        return _finish(tx, row, JobState.CANCELLED, now, used_s=used_s)
    fair_share.return_to_queue(tx, row, used_s)
    return change(
        tx,
        row,
        JobState.QUEUED,
        place=row.seq - FRONT,
        alone=row.alone if alone is None else alone,
        not_before=now + timedelta(seconds=delay_s) if delay_s > 0 else None,
        queued_at=now,
        started_at=None,
        lease_until=None,
        **{counter: job.c[counter] + 1},
    )
