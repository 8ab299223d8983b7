"""The ledger: charges per person and day. A job reserves its cost once, and captures or refunds it once."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from bot.errors import QuotaExceeded
from bot.ports import Usage
from storage import audit
from storage.carried_usage import read_carried
from storage.database import Database
from storage.mapping import JobRow
from storage.schema import DeviceSeconds, ledger, quota_day

_Q = quota_day.c
_DAY = (_Q.person == bindparam("of_person")) & (_Q.day == bindparam("of_day"))
_MORE = bindparam("by_reserved", type_=DeviceSeconds)
_USAGE = select(_Q.used, _Q.reserved).where(_DAY)
_RESERVE = update(quota_day).where(_DAY).values(reserved=_Q.reserved + _MORE)
_RESERVE_WITHIN = _RESERVE.where(_Q.used + _Q.reserved + _MORE <= bindparam("limit", type_=DeviceSeconds))
_SETTLE = (
    update(quota_day)
    .where(_DAY)
    .values(reserved=_Q.reserved - _MORE, used=_Q.used + bindparam("by_used", type_=DeviceSeconds))
)


class SqlLedger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def daily_usage(self, person_id: str, day: str) -> Usage:
        return await self._database.run_read(lambda tx: _usage(tx, person_id, day))

    async def find_imbalances(self) -> list[str]:
        return await self._database.run_read(audit.find_problems)


def reserve_costs(
    tx: Connection, person: str, costs: Sequence[tuple[str, float]], limit: float | None, now: datetime
) -> None:
    """Reserve each `(job, cost)` on today's quota.

    Raises:
        QuotaExceeded: their sum exceeds the remaining quota.
    """
    day = utc_day(now)
    total = sum(cost for _, cost in costs)
    today = {"of_person": person, "of_day": day}
    if tx.execute(_USAGE, today).one_or_none() is None:
        tx.execute(insert(quota_day), {"person": person, "day": day, "used": 0.0, "reserved": 0.0})
    bounds = {"by_reserved": total}
    is_limited = limit is not None and total > 0
    if is_limited:
        bounds["limit"] = (limit or 0.0) - read_carried(tx, person, now).device_s
    if not tx.execute(_RESERVE_WITHIN if is_limited else _RESERVE, today | bounds).rowcount:
        raise _quota_exceeded(_usage(tx, person, day), limit or 0.0, total, now)
    tx.execute(insert(ledger), [_entry(job, "reserve", person, day, cost, now) for job, cost in costs])


def settle_job(tx: Connection, row: JobRow, kind: str, now: datetime) -> None:
    """`capture` or `refund` the job's reserve, on the day of its acceptance."""
    day = utc_day(row.created_at)
    captured = row.cost if kind == "capture" else 0.0
    tx.execute(_SETTLE, {"of_person": row.owner, "of_day": day, "by_reserved": row.cost, "by_used": captured})
    tx.execute(insert(ledger), _entry(row.id, kind, row.owner, day, row.cost, now))


def utc_day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _entry(job: str, kind: str, person: str, day: str, amount: float, now: datetime) -> dict[str, Any]:
    return {"job": job, "kind": kind, "person": person, "day": day, "amount": amount, "at": now}


def _usage(tx: Connection, person: str, day: str) -> Usage:
    """With what the person brought along from an account that was unlinked on that day."""
    row = tx.execute(_USAGE, {"of_person": person, "of_day": day}).one_or_none()
    carried = read_carried(tx, person, datetime.fromisoformat(day).replace(tzinfo=UTC)).device_s
    used, reserved = (0.0, 0.0) if row is None else (row.used, row.reserved)
    return Usage(used=used + carried, reserved=reserved)


def _quota_exceeded(usage: Usage, limit: float, cost: float, now: datetime) -> QuotaExceeded:
    resets_at = datetime.combine(now.date() + timedelta(days=1), time(), tzinfo=UTC)
    return QuotaExceeded(
        limit=limit,
        left=max(0.0, limit - usage.used - usage.reserved),
        cost=cost,
        resets_at=resets_at,
        retry_after_s=math.ceil((resets_at - now).total_seconds()),
    )
