"""State transitions of queued and running jobs, with their effects on quota, fairness and messages."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from bot.error_texts import explain
from bot.errors import InterruptedTooOften
from bot.jobs import TRANSITIONS, Job, JobError, JobState, Result
from bot.ports import WEBHOOK, LeaseRenewal
from storage import fair_share, ledger
from storage.changes import announce_change
from storage.dialect import Dialect
from storage.mapping import JobRow, from_result, next_version, to_job
from storage.measuring import count_after_commit
from storage.media_queries import save_result_images
from storage.outbox import enqueue_message
from storage.schema import IS_RUNNING, job, utcnow

FRONT_OFFSET = 1 << 52
"""A requeued job's place is its number minus this: before all jobs that never ran, oldest first."""

_CLAIMED = select(job).where(
    job.c.id == bindparam("of_id"), job.c.attempt == bindparam("of_attempt"), job.c.state == JobState.RUNNING
)


def _interrupted_too_often(row: JobRow) -> JobError:
    error = InterruptedTooOften()
    locale = row._mapping[job.c.origin].get("locale", "en")
    return JobError(code=error.code, message=explain(error, locale=locale))


def save_result(tx: Connection, dialect: Dialect, job_id: str, attempt: int, result: Result) -> Job | None:
    row, now = claimed_row(tx, job_id, attempt), utcnow()
    if row is None:
        return None
    if row.cancel_requested:
        return to_job(_finish(tx, row, JobState.CANCELLED, now, used_s=result.seconds))
    save_result_images(tx, row, result.media, now)
    dialect.append_text(tx, row.seq, result.text or "")
    done = _finish(tx, row, JobState.RENDERED, now, used_s=result.seconds, result=from_result(result))
    if not row.wants_delivery:
        done = change_state(tx, done, JobState.DELIVERED)
    return to_job(done)


def end_job(
    tx: Connection, job_id: str, attempt: int, state: JobState, error: JobError | None, used_s: float
) -> Job | None:
    row = claimed_row(tx, job_id, attempt)
    return None if row is None else to_job(_finish(tx, row, state, utcnow(), used_s=used_s, error=error))


def requeue_job(
    tx: Connection,
    job_id: str,
    attempt: int,
    *,
    crashed: bool,
    interrupted: bool,
    delay_s: float,
    exclusive: bool,
    used_s: float,
    faultless: bool = False,
) -> Job | None:
    row, now = claimed_row(tx, job_id, attempt), utcnow()
    if row is None:
        return None
    counter = "" if faultless else "crashes" if crashed else "interruptions" if interrupted else "failures"
    # An interruption is not the person's fault.
    charged_s = 0.0 if interrupted or faultless else min(row.estimate_s, used_s)
    return to_job(
        _return_to_queue(tx, row, now, counter=counter, used_s=charged_s, delay_s=delay_s, exclusive=exclusive)
    )


def requeue_running(tx: Connection, max_interruptions: int, *, only_expired: bool) -> int:
    """Requeue running jobs, or those with expired leases; returns their number."""
    now = utcnow()
    claimed = select(job).where(IS_RUNNING).order_by(job.c.seq)
    if only_expired:
        claimed = claimed.where(job.c.lease_until < now)
    returned = 0
    for row in tx.execute(claimed).all():
        if row.interruptions >= max_interruptions and not row.cancel_requested:
            _finish(tx, row, JobState.FAILED, now, error=_interrupted_too_often(row))
        else:
            after = _return_to_queue(tx, row, now, counter="interruptions")
            returned += after.state == JobState.QUEUED
    return returned


def cancel_queued(tx: Connection, row: JobRow) -> JobRow:
    return _finish(tx, row, JobState.CANCELLED, utcnow(), cancel_requested=True)


def fail_queued(tx: Connection, job_id: str, error: JobError) -> Job | None:
    row = tx.execute(select(job).where(job.c.id == job_id, job.c.state == JobState.QUEUED)).one_or_none()
    return None if row is None else to_job(_finish(tx, row, JobState.FAILED, utcnow(), error=error))


def renew_leases(tx: Connection, leases: Mapping[str, int], lease_s: float) -> LeaseRenewal:
    rows = tx.execute(select(job.c.id, job.c.attempt, job.c.cancel_requested).where(job.c.id.in_(leases), IS_RUNNING))
    ours = {row.id: row.cancel_requested for row in rows if row.attempt == leases[row.id]}
    until = utcnow() + timedelta(seconds=lease_s)
    tx.execute(update(job).where(job.c.id.in_(ours), IS_RUNNING).values(lease_until=until))
    cancel = frozenset(job_id for job_id, is_requested in ours.items() if is_requested)
    return LeaseRenewal(cancel_requested=cancel, lost=frozenset(leases) - ours.keys())


def claimed_row(tx: Connection, job_id: str, attempt: int) -> JobRow | None:
    """The row, while the claim with this fencing token is valid."""
    return tx.execute(_CLAIMED, {"of_id": job_id, "of_attempt": attempt}).one_or_none()


def change_state(tx: Connection, row: JobRow, state: JobState, **values: Any) -> JobRow:
    """Change a job's state as `TRANSITIONS` allow; returns the new row."""
    if state not in TRANSITIONS[JobState(row.state)]:
        raise ValueError(f"a job cannot move from {row.state} to {state}")
    announce_change(tx, row.owner)
    return tx.execute(
        update(job)
        .where(job.c.seq == row.seq, job.c.state == row.state)
        .values(state=state, **next_version(), **values)
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
    """End a job: settle the ledger, correct virtual time and enqueue the result message and its webhook's event."""
    ledger.settle_job(tx, row, "capture" if state == JobState.RENDERED else "refund", now)
    if row.state == JobState.RUNNING:
        fair_share.leave_running(tx, row, used_s)
    else:
        fair_share.leave_queue(tx, row)
    if row.wants_delivery:
        enqueue_message(tx, row.id, "result", now, is_deliverable=not row.erased)
    if webhook := row._mapping[job.c.origin].get("webhook"):  # an erased job has none any more
        enqueue_message(tx, row.id, WEBHOOK, now, target=webhook)
    stored_error = None if error is None else asdict(error)
    ended = change_state(
        tx, row, state, finished_at=now, lease_until=None, not_before=None, error=stored_error, **values
    )
    count_after_commit(tx, lambda metrics: metrics.count_ended(to_job(ended)))
    return ended


def _return_to_queue(
    tx: Connection,
    row: JobRow,
    now: datetime,
    *,
    counter: str,
    used_s: float = 0.0,
    delay_s: float = 0.0,
    exclusive: bool | None = None,
) -> JobRow:
    """Return a job to the front of its person's lane, or cancel it if that was requested. `counter`: empty: none."""
    if row.cancel_requested:
        return _finish(tx, row, JobState.CANCELLED, now, used_s=used_s)
    fair_share.return_to_queue(tx, row, used_s)
    return change_state(
        tx,
        row,
        JobState.QUEUED,
        place=row.seq - FRONT_OFFSET,
        alone=row.alone if exclusive is None else exclusive,
        not_before=now + timedelta(seconds=delay_s) if delay_s > 0 else None,
        queued_at=now,
        started_at=None,
        lease_until=None,
        **({counter: job.c[counter] + 1} if counter else {}),
    )
