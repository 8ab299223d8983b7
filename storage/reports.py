"""Reports of pictures and answers: `bot.ports.Reports` on the database."""

from typing import Any

from sqlalchemy import Connection, Select, case, insert, select, update

from bot.errors import NotFound
from bot.ports import ListPage, ReportedJob, ReportState, SaveOutcome
from storage.administration import count_rows, read_cursor
from storage.carried_usage import count_reports
from storage.database import Database
from storage.jobs import find_job
from storage.mapping import JobRow, to_job
from storage.people import refuse_forgotten, to_person
from storage.picture_tables import report
from storage.schema import job, person, utcnow

_reporter, _owner = person.alias("reporter"), person.alias("job_owner")
_IS_OPEN = report.c.closed_at.is_(None)
_STATES = {"open": _IS_OPEN, "closed": ~_IS_OPEN}
_ID = report.c.id.label("report_id")
_SINCE, _UNTIL = report.c.created_at.label("reported_at"), report.c.closed_at.label("report_closed_at")


class SqlReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_report(
        self, person_id: str, job_id: str, picture: int | None, reason: str, *, daily_limit: int
    ) -> SaveOutcome:
        return await self._database.run_write(lambda tx: _save(tx, person_id, job_id, picture, reason, daily_limit))

    async def list_reports(self, state: ReportState, *, before: str | None, limit: int) -> ListPage[ReportedJob]:
        return await self._database.run_read(lambda tx: _list_page(tx, state, before, limit))

    async def get_report(self, report_id: int) -> ReportedJob:
        return await self._database.run_read(lambda tx: _get(tx, report_id))

    async def close_reports(self, report_id: int, outcome: str) -> int:
        return await self._database.run_write(lambda tx: _close(tx, report_id, outcome))


def _save(
    tx: Connection, person_id: str, job_id: str, picture: int | None, reason: str, daily_limit: int
) -> SaveOutcome:
    refuse_forgotten(tx, person_id)
    found = find_job(tx, job_id, None)
    of_person, now = report.c.person == person_id, utcnow()
    if count_rows(tx, report, of_person, report.c.job == found.id, report.c.picture.is_not_distinct_from(picture)):
        return "known"
    if count_reports(tx, person_id, now) >= daily_limit:
        return "limit"
    row = {"person": person_id, "job": found.id, "picture": picture, "reason": reason, "created_at": now}
    tx.execute(insert(report), row)
    return "saved"


def _select() -> Select[Any]:
    return (
        select(_ID, report.c.picture, report.c.reason, report.c.outcome, _SINCE, _UNTIL, job, _reporter, _owner)
        .join(job, job.c.id == report.c.job)
        .join(_reporter, _reporter.c.id == report.c.person)
        .join(_owner, _owner.c.id == job.c.owner)
    )


def _list_page(tx: Connection, state: ReportState, before: str | None, limit: int) -> ListPage[ReportedJob]:
    shown = [_STATES[state]] if state in _STATES else []
    query = _select().where(*shown).order_by(case((_IS_OPEN, 0), else_=1), report.c.id.desc())
    rank, last = read_cursor(before)
    if last:
        older = report.c.id < last
        query = query.where(~_IS_OPEN & older if rank else (_IS_OPEN & older) | ~_IS_OPEN)
    rows = tx.execute(query.limit(limit + 1)).all()
    page = tuple(_to_report(row) for row in rows[:limit])
    more = f"{int(page[-1].closed_at is not None)}-{page[-1].id}" if len(rows) > limit else None
    return ListPage(items=page, total=count_rows(tx, report, *shown), next=more)


def _get(tx: Connection, report_id: int) -> ReportedJob:
    row = tx.execute(_select().where(report.c.id == report_id)).one_or_none()
    if row is None:
        raise NotFound("report", str(report_id))
    return _to_report(row)


def _close(tx: Connection, report_id: int, outcome: str) -> int:
    closed = _get(tx, report_id)
    alike = (report.c.job == closed.job.id) & report.c.picture.is_not_distinct_from(closed.picture)
    values = {"closed_at": utcnow(), "outcome": outcome}
    return tx.execute(update(report).where(alike, _IS_OPEN).values(values)).rowcount


def _to_report(row: JobRow) -> ReportedJob:
    of = row._mapping
    return ReportedJob(
        id=of[_ID],
        job=to_job(row),
        picture=of[report.c.picture],
        reason=of[report.c.reason],
        reporter=to_person(row, _reporter),
        owner=to_person(row, _owner),
        created_at=of[_SINCE],
        closed_at=of[_UNTIL],
        outcome=of[report.c.outcome],
    )
