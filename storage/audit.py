"""The audit: compares every sum and counter with the rows that it summarizes.

The comparison is exact: amounts are whole microseconds, and a consistent database has no problems.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from bot.jobs import JobState
from storage.schema import job, ledger, outbox, person_load, person_share, quota_day, space_share

OPEN = (JobState.QUEUED, JobState.RUNNING)
DONE = (JobState.RENDERED, JobState.DELIVERED)
REFUNDED = (JobState.FAILED, JobState.CANCELLED, JobState.DEAD)


def find_problems(tx: Connection) -> list[str]:
    """All inconsistencies found, as sentences."""
    return [
        *_unsettled_jobs(tx),
        *_mischarged_jobs(tx),
        *_wrong_quotas(tx),
        *_wrong_counters(tx),
        *_inconsistent_states(tx),
        *_missing_messages(tx),
    ]


def find_problems_of(tx: Connection, person_id: str) -> list[str]:
    """Inconsistencies between one person's jobs, entries and quotas, as sentences."""
    return [*_mischarged_jobs(tx, job.c.owner == person_id), *_wrong_quotas(tx, person_id)]


def _unsettled_jobs(tx: Connection) -> Iterator[str]:
    """Each job has one reserve entry, and one capture or refund according to its state if it has ended."""
    kinds = [_count(ledger.c.kind == kind) for kind in ("reserve", "capture", "refund")]
    wanted = [1, _as_number(job.c.state.in_(DONE)), _as_number(job.c.state.in_(REFUNDED))]
    query = select(job.c.id, job.c.state, *kinds).outerjoin(ledger).group_by(job.c.id, job.c.state)
    differs = [kind != number for kind, number in zip(kinds, wanted, strict=True)]
    for job_id, state, reserves, captures, refunds in tx.execute(query.having(_any(differs))):
        yield (f"Job {job_id} is {state} and has {reserves} reserve, {captures} capture and {refunds} refund entries.")


def _mischarged_jobs(tx: Connection, which: ColumnElement[bool] | None = None) -> Iterator[str]:
    differs = [ledger.c.amount != job.c.cost, ledger.c.person != job.c.owner]
    entries = select(job.c.id, ledger.c.kind).join(ledger).where(_any(differs))
    for job_id, kind in tx.execute(entries if which is None else entries.where(which)):
        yield f"The {kind} entry of job {job_id} is not its cost, or not its owner's."
    settled = ledger.alias("settled")
    other_day = (settled.c.job == ledger.c.job) & (settled.c.day != ledger.c.day)
    query = select(ledger.c.job).join(settled, other_day).where(ledger.c.kind == "reserve")
    for (job_id,) in tx.execute(query if which is None else query.join(job).where(which)):
        yield f"Job {job_id} was settled on another day than it was reserved on."


def _wrong_quotas(tx: Connection, person_id: str | None = None) -> Iterator[str]:
    """A day's used and reserved amounts are the sums of its entries."""
    amount = ledger.c.amount
    used = func.sum(case((ledger.c.kind == "capture", amount), else_=0))
    reserved = func.sum(case((ledger.c.kind == "reserve", amount), else_=-amount))
    key = (ledger.c.person, ledger.c.day)
    of_entries = select(*key, used, reserved).group_by(*key)
    of_days = select(quota_day.c.person, quota_day.c.day, quota_day.c.used, quota_day.c.reserved)
    if person_id is not None:
        of_entries = of_entries.where(ledger.c.person == person_id)
        of_days = of_days.where(quota_day.c.person == person_id)
    entries, days = _table(tx, of_entries, keys=2), _table(tx, of_days, keys=2)
    for (person, day), (stored, counted) in _differences(days, entries):
        yield f"The quota of {person} on {day} says (used, reserved) {stored}; the entries say {counted}."


def _wrong_counters(tx: Connection) -> Iterator[str]:
    queued, running = _count(job.c.state == JobState.QUEUED), _count(job.c.state == JobState.RUNNING)
    checks = [
        ("The load of {} (running, outstanding)", person_load, ("running", "outstanding"), [job.c.owner]),
        ("The share of {} (waiting, running)", space_share, ("backlog", "running"), [job.c.space]),
        ("The share of {} (waiting, running)", person_share, ("backlog", "running"), [job.c.space, job.c.owner]),
    ]
    for name, table, columns, keys in checks:
        numbers = (running, queued + running) if table is person_load else (queued, running)
        jobs = _table(tx, select(*keys, *numbers).where(job.c.state.in_(OPEN)).group_by(*keys), keys=len(keys))
        primary = list(table.primary_key.columns)
        stored = _table(tx, select(*primary, *(table.c[column] for column in columns)), keys=len(keys))
        for key, (recorded, counted) in _differences(stored, jobs):
            yield f"{name.format(' '.join(key))} says {recorded}; the jobs say {counted}."


def _inconsistent_states(tx: Connection) -> Iterator[str]:
    is_open = job.c.state.in_(OPEN)
    is_running = job.c.state == JobState.RUNNING
    wrong = [
        is_open == job.c.finished_at.is_not(None),
        is_running != job.c.lease_until.is_not(None),
        job.c.state.in_(DONE) & job.c.result.is_(None),
        is_running & (job.c.attempt < 1),
        job.c.state.not_in(list(JobState)),
    ]
    for job_id, state in tx.execute(select(job.c.id, job.c.state).where(_any(wrong))):
        yield f"Job {job_id} is {state}, and its times, lease or result do not fit that."


def _missing_messages(tx: Connection) -> Iterator[str]:
    """A job from a chat has a placeholder message, and a result message once it has ended."""
    placeholders, results = (_count(outbox.c.kind == kind) for kind in ("placeholder", "result"))
    wanted = _as_number(job.c.wants_delivery)
    ended = wanted * _as_number(job.c.state.not_in(OPEN))
    query = select(job.c.id, job.c.state).outerjoin(outbox).group_by(job.c.id, job.c.state, job.c.wants_delivery)
    for job_id, state in tx.execute(query.having(_any([placeholders != wanted, results != ended]))):
        yield f"Job {job_id} is {state}, and its messages in the outbox do not fit that."


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _as_number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _any(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *others = conditions
    for condition in others:
        first = first | condition
    return first


_Table = Mapping[tuple[Any, ...], tuple[Any, ...]]


def _table(tx: Connection, query: Select[Any], keys: int) -> _Table:
    """The rows by their first `keys` columns, without rows of zeros."""
    rows = {tuple(row[:keys]): tuple(row[keys:]) for row in tx.execute(query)}
    return {key: numbers for key, numbers in rows.items() if any(numbers)}


def _differences(stored: _Table, counted: _Table) -> Iterator[tuple[tuple[Any, ...], tuple[Any, Any]]]:
    for key in sorted(stored.keys() | counted.keys()):
        nothing = (0, 0)
        if stored.get(key, nothing) != counted.get(key, nothing):
            yield key, (stored.get(key, nothing), counted.get(key, nothing))
