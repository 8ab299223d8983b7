"""What admins see of everybody: `bot.ports.Administration` on the database."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from bot.errors import NotFound
from bot.jobs import Job, JobState
from bot.ports import ApiKey, ListPage, Person, PersonSummary, StorageUse
from storage import blocking
from storage.database import Database
from storage.disk import DiskSpace
from storage.mapping import JobRow, to_job
from storage.people import NAMED_PLATFORM, select_keys, to_key, to_person
from storage.picture_tables import report
from storage.schema import (
    IS_ENDED,
    IS_QUEUED,
    IS_RUNNING,
    account,
    api_key,
    job,
    media,
    media_owner,
    person,
    quota_day,
)

_CURSOR = re.compile(r"([01])-(\d{1,18})")
IS_FAILED = and_(IS_ENDED, job.c.state.in_([literal_column("'failed'"), literal_column("'dead'")]))
"""The first condition is that of the index, the second is what it is searched by."""
_INCIDENT = job.c.error["incident"].as_string()
OF_OWNER = select(job, person).join(person, person.c.id == job.c.owner)


class SqlAdministration:
    def __init__(self, database: Database, disk: DiskSpace) -> None:
        self._database = database
        self._disk = disk

    async def list_people(self, day: str, *, q: str, before: str | None, limit: int) -> ListPage[PersonSummary]:
        return await self._database.run_read(lambda tx: _list_people(tx, day, q, before, limit))

    async def get_person(self, person_id: str) -> Person:
        return await self._database.run_read(lambda tx: _get_person(tx, person_id))

    async def set_quota(self, person_id: str, daily_s: float | None) -> Person:
        def set_it(tx: Connection) -> Person:
            _get_person(tx, person_id)
            tx.execute(update(person).where(person.c.id == person_id).values(daily_s=daily_s))
            return _get_person(tx, person_id)

        return await self._database.run_write(set_it)

    async def set_blocked(self, person_id: str, *, is_blocked: bool) -> tuple[Person, Sequence[str]]:
        open_jobs = select(job.c.id).where(job.c.owner == person_id, IS_QUEUED | IS_RUNNING)

        def set_it(tx: Connection) -> tuple[Person, Sequence[str]]:
            _get_person(tx, person_id)
            blocking.set_blocked(tx, person_id, is_blocked=is_blocked)
            return _get_person(tx, person_id), list(tx.scalars(open_jobs.order_by(job.c.seq)))

        return await self._database.run_write(set_it)

    async def may_create_key(self, person_id: str) -> bool:
        is_own = account.c.person == person_id
        others = exists().where(is_own, account.c.platform != NAMED_PLATFORM)
        has_jobs = exists().where(job.c.owner == person_id)
        return await self._database.run_read(lambda tx: bool(tx.scalar(select(~others & ~has_jobs))))

    async def list_queue(self, *, before: str | None, limit: int) -> ListPage[tuple[Job, Person]]:
        return await self._database.run_read(lambda tx: _list_queue(tx, before, limit))

    async def list_incidents(self, code: str, limit: int) -> Sequence[tuple[Job, Person]]:
        is_wanted = code == _INCIDENT if code else _INCIDENT != ""
        shown = and_(IS_FAILED, is_wanted)
        query = OF_OWNER.where(shown).order_by(job.c.seq.desc()).limit(limit)
        return await self._database.run_read(lambda tx: [_with_owner(row) for row in tx.execute(query)])

    async def reported_jobs(self, job_ids: Sequence[str]) -> frozenset[str]:
        reported = select(report.c.job).where(report.c.job.in_(job_ids), report.c.closed_at.is_(None))
        return await self._database.run_read(lambda tx: frozenset(tx.scalars(reported)))

    async def count_open(self) -> tuple[int, int]:
        return await self._database.run_read(
            lambda tx: (count_rows(tx, job, IS_QUEUED), count_rows(tx, job, IS_RUNNING))
        )

    async def measure_storage(self) -> StorageUse:
        files = select(func.count(), func.coalesce(func.sum(media.c.size), 0)).select_from(media)
        oldest = select(func.min(media_owner.c.kept_since))

        def measure(tx: Connection) -> StorageUse:
            images, image_bytes = tx.execute(files).one()
            return StorageUse(
                images=images,
                image_bytes=image_bytes,
                database_bytes=self._database.dialect.size_bytes(),
                free_bytes=self._disk.free_mb() << 20,
                oldest=tx.scalar(oldest),
            )

        return await self._database.run_read(measure)


def _with_owner(row: JobRow) -> tuple[Job, Person]:
    return to_job(row), to_person(row)


def _get_person(tx: Connection, person_id: str) -> Person:
    known = select(person).where(person.c.id == person_id, person.c.forgotten.is_(False))
    row = tx.execute(known).one_or_none()
    if row is None:
        raise NotFound("person", person_id)
    return to_person(row)


def count_rows(tx: Connection, of: FromClause, *conditions: ColumnElement[bool]) -> int:
    return tx.scalar(select(func.count()).select_from(of).where(*conditions)) or 0


# ---------------------------------------------------------------- people


def _list_people(tx: Connection, day: str, q: str, before: str | None, limit: int) -> ListPage[PersonSummary]:
    shown: list[ColumnElement[bool]] = [person.c.forgotten.is_(False)]
    if q:
        of_account = select(account.c.person).where(account.c.account_id == q)
        named = person.c.name.icontains(q, autoescape=True)
        shown.append(or_(named, person.c.id == q, person.c.id.in_(of_account)))
    query = select(person).where(*shown).order_by(person.c.created_at.desc(), person.c.id.desc())
    if before is not None:
        last = person.alias("last")
        place = select(last.c.created_at).where(last.c.id == before).scalar_subquery()
        query = query.where(tuple_(person.c.created_at, person.c.id) < tuple_(place, before))
    rows = tx.execute(query.limit(limit + 1)).all()
    page = _summarize(tx, rows[:limit], day)
    more = page[-1].person.id if page and len(rows) > limit else None
    return ListPage(items=tuple(page), total=count_rows(tx, person, *shown), next=more)


def _summarize(tx: Connection, rows: Sequence[JobRow], day: str) -> list[PersonSummary]:
    ids = [row.id for row in rows]
    accounts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in tx.execute(select(account).where(account.c.person.in_(ids)).order_by(account.c.platform)):
        accounts[one.person].append((one.platform, one.account_id))
    keys: defaultdict[str, list[ApiKey]] = defaultdict(list)
    active = select_keys().where(api_key.c.person.in_(ids), api_key.c.revoked_at.is_(None))
    for one in tx.execute(active.order_by(api_key.c.created_at)):
        keys[one.person].append(to_key(one))
    per_owner = select(job.c.owner, func.count()).where(job.c.owner.in_(ids), job.c.erased.is_(False))
    jobs = _pairs(tx, per_owner.group_by(job.c.owner))
    today = select(quota_day).where(quota_day.c.person.in_(ids), quota_day.c.day == day)
    used = {one.person: one.used + one.reserved for one in tx.execute(today)}
    asked = {one: tx.scalar(_last_job(one)) for one in ids}
    return [
        PersonSummary(
            person=to_person(row),
            created_at=row.created_at,
            accounts=tuple(accounts[row.id]),
            keys=tuple(keys[row.id]),
            jobs=jobs.get(row.id, 0),
            used=used.get(row.id, 0.0),
            last_seen=max(filter(None, [asked[row.id], *(key.last_used_at for key in keys[row.id])]), default=None),
        )
        for row in rows
    ]


def _last_job(person_id: str) -> Select[Any]:
    return select(job.c.created_at).where(job.c.owner == person_id).order_by(job.c.seq.desc()).limit(1)


def _pairs(tx: Connection, query: Select[Any]) -> dict[str, Any]:
    return dict(tx.execute(query).all())


# ---------------------------------------------------------------- jobs


def _list_queue(tx: Connection, before: str | None, limit: int) -> ListPage[tuple[Job, Person]]:
    """Two statements, each with an index of its own: together SQLite would read every job."""
    rank, seq = read_cursor(before)
    rows: list[JobRow] = []
    for number, state in enumerate((IS_RUNNING, IS_QUEUED)):
        if number >= rank and len(rows) <= limit:
            query = OF_OWNER.where(state, job.c.erased.is_(False)).order_by(job.c.seq)
            query = query.where(job.c.seq > seq) if number == rank and seq else query
            rows += tx.execute(query.limit(limit + 1 - len(rows)))
    page = [_with_owner(row) for row in rows[:limit]]
    total = sum(count_rows(tx, job, state, job.c.erased.is_(False)) for state in (IS_RUNNING, IS_QUEUED))
    more = None
    if len(rows) > limit:
        more = f"{int(page[-1][0].state is JobState.QUEUED)}-{rows[limit - 1]._mapping[job.c.seq]}"
    return ListPage(items=tuple(page), total=total, next=more)


def read_cursor(text: str | None) -> tuple[int, int]:
    """Group and number of the last row of the previous page; zeros for the first page, and for a forged cursor."""
    match = _CURSOR.fullmatch(text or "")
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
