"""What each person was charged, on which day. A job reserves its cost once and captures or refunds it once."""

import math
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bot.errors import QuotaExceeded
from bot.ports import Usage
from storage import audit
from storage.database import Database
from storage.rows import JobRow
from storage.schema import UTC, ledger, quota_day


class SqlLedger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage(self, person_id: str, day: str) -> Usage:
        return await self._database.read(lambda tx: _usage(tx, person_id, day))

    async def problems(self) -> list[str]:
        return await self._database.read(audit.problems)


def reserve(
    tx: Connection, person: str, costs: Sequence[tuple[str, float]], limit: float | None, now: datetime
) -> None:
    """Reserve `(job, cost)` each, all on today's quota.

    Raises:
        QuotaExceeded: together they would pass the day's limit.
    """
    day = day_of(now)
    total = sum(cost for _, cost in costs)
    q = quota_day.c
    today = (q.person == person) & (q.day == day)
    if tx.scalar(select(q.day).where(today)) is None:
        tx.execute(insert(quota_day), {"person": person, "day": day, "used": 0.0, "reserved": 0.0})
    taken = update(quota_day).where(today).values(reserved=q.reserved + total)
    if limit is not None and total > 0:
        taken = taken.where(q.used + q.reserved + total <= limit)
    if not tx.execute(taken).rowcount:
        raise _exceeded(_usage(tx, person, day), limit or 0.0, total, now)
    tx.execute(insert(ledger), [_entry(job, "reserve", person, day, cost, now) for job, cost in costs])


def settle(tx: Connection, row: JobRow, kind: str, now: datetime) -> None:
    """`capture` or `refund` what the job reserved, on the day when it was accepted."""
    day = day_of(row.created_at)
    q = quota_day.c
    captured = row.cost if kind == "capture" else 0.0
    tx.execute(
        update(quota_day)
        .where(q.person == row.owner, q.day == day)
        .values(reserved=q.reserved - row.cost, used=q.used + captured)
    )
    tx.execute(insert(ledger), _entry(row.id, kind, row.owner, day, row.cost, now))


def day_of(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _entry(job: str, kind: str, person: str, day: str, amount: float, now: datetime) -> dict[str, Any]:
    return {"job": job, "kind": kind, "person": person, "day": day, "amount": amount, "at": now}


def _usage(tx: Connection, person: str, day: str) -> Usage:
    q = quota_day.c
    row = tx.execute(select(q.used, q.reserved).where(q.person == person, q.day == day)).one_or_none()
    return Usage(used=0.0, reserved=0.0) if row is None else Usage(used=row.used, reserved=row.reserved)


def _exceeded(usage: Usage, limit: float, cost: float, now: datetime) -> QuotaExceeded:
    resets_at = datetime.combine(now.date() + timedelta(days=1), time(), tzinfo=UTC)
    return QuotaExceeded(
        limit=limit,
        left=max(0.0, limit - usage.used - usage.reserved),
        cost=cost,
        resets_at=resets_at,
        retry_after_s=math.ceil((resets_at - now).total_seconds()),
    )
