"""Usage that a person brings along from an account of theirs that was unlinked: it counts beside their own.

Nobody gains quota by linking and unlinking: two persons who become one have at most what both had left.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from storage.link_tables import carried_usage
from storage.media_queries import sum_uploads
from storage.picture_tables import report
from storage.schema import quota_day

UPLOADS_COUNT_FOR = timedelta(hours=24)
REPORTS_COUNT_FOR = timedelta(hours=24)
_CARRIED = select(carried_usage).where(carried_usage.c.person == bindparam("of_person"))


@dataclass(frozen=True)
class CountedUsage:
    """What counts for a person: of the UTC day in device-seconds, of 24 hours in bytes of uploads and in reports."""

    device_s: float = 0.0
    upload_bytes: int = 0
    reports: int = 0


def read_carried(tx: Connection, person_id: str, now: datetime) -> CountedUsage:
    """What of it still counts."""
    row = tx.execute(_CARRIED, {"of_person": person_id}).one_or_none()
    if row is None:
        return CountedUsage()
    is_today = row.at.date() == now.date()
    upload_bytes = row.upload_bytes if row.at > now - UPLOADS_COUNT_FOR else 0
    reports = row.reports if row.at > now - REPORTS_COUNT_FOR else 0
    return CountedUsage(row.device_s if is_today else 0.0, upload_bytes, reports)


def read_usage(tx: Connection, person_id: str, now: datetime) -> CountedUsage:
    """A person's own usage with what they brought along; open jobs count."""
    own, carried = _read_own(tx, person_id, now), read_carried(tx, person_id, now)
    return CountedUsage(
        own.device_s + carried.device_s, own.upload_bytes + carried.upload_bytes, own.reports + carried.reports
    )


def _read_own(tx: Connection, person_id: str, now: datetime) -> CountedUsage:
    q = quota_day.c
    today = select(q.used, q.reserved).where(q.person == person_id, q.day == now.date().isoformat())
    uploads, _ = sum_uploads(tx, person_id, now - UPLOADS_COUNT_FOR)
    row = tx.execute(today).one_or_none()
    device_s = 0.0 if row is None else row.used + row.reserved
    return CountedUsage(device_s, uploads, _count_own_reports(tx, person_id, now))


def _count_own_reports(tx: Connection, person_id: str, now: datetime) -> int:
    r = report.c
    recent = select(func.count()).where(r.person == person_id, r.created_at > now - REPORTS_COUNT_FOR)
    return tx.scalar(recent) or 0


def count_reports(tx: Connection, person_id: str, now: datetime) -> int:
    """Of the last 24 hours, with those that they brought along."""
    return _count_own_reports(tx, person_id, now) + read_carried(tx, person_id, now).reports


def carry_usage(tx: Connection, person_id: str, usage: CountedUsage, now: datetime) -> None:
    """Let this count for the person from now on, in place of what they brought along before."""
    tx.execute(delete(carried_usage).where(carried_usage.c.person == person_id))
    if usage != CountedUsage():
        row = {"person": person_id, **asdict(usage), "at": now}
        tx.execute(insert(carried_usage), row)


def join_carried(tx: Connection, kept: str, emptied: str, now: datetime) -> CountedUsage:
    """What two persons who become one bring along, read before their own usage is added.

    It may come from the other one, whose own usage counts anyway: only what exceeds that is brought along.
    """
    own = [_read_own(tx, one, now) for one in (kept, emptied)]
    carried = [read_carried(tx, one, now) for one in (kept, emptied)]
    return CountedUsage(
        max(0.0, carried[0].device_s - own[1].device_s, carried[1].device_s - own[0].device_s),
        max(0, carried[0].upload_bytes - own[1].upload_bytes, carried[1].upload_bytes - own[0].upload_bytes),
        max(0, carried[0].reports - own[1].reports, carried[1].reports - own[0].reports),
    )


def sum_all_uploads(tx: Connection, person_id: str, since: datetime) -> tuple[int, datetime | None]:
    """Bytes of a person's uploads since then with those they brought along, and the time of the first."""
    used, oldest_at = sum_uploads(tx, person_id, since)
    row = tx.execute(_CARRIED, {"of_person": person_id}).one_or_none()
    if row is None or row.upload_bytes == 0 or row.at <= since:
        return used, oldest_at
    return used + row.upload_bytes, min(row.at, oldest_at or row.at)
