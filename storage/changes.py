"""Changes of each person's jobs: who is told of them, and what changed since a number."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, bindparam, or_, select

from bot.jobs import Job
from bot.ports import UNMARKED, JobChange, PictureMarks
from storage.consents import find_corrections
from storage.database import CHANGED_OWNERS, Database
from storage.link_tables import link_event
from storage.mapping import last_change, to_job
from storage.picture_tables import collection, collection_item, favourite
from storage.schema import IS_QUEUED, IS_RUNNING, job

_CHANGES = (
    select(job)
    .where(job.c.owner == bindparam("of_owner"), job.c.changed > bindparam("after"))
    .order_by(job.c.changed, job.c.seq)
    .limit(bindparam("most"))
)
_FAVOURITES = select(favourite.c.job, favourite.c.picture).where(
    favourite.c.job.in_(bindparam("jobs", expanding=True)), favourite.c.person == bindparam("of_owner")
)
_COLLECTED = (
    select(collection_item.c.job, collection_item.c.picture, collection_item.c.collection)
    .join(collection, collection.c.id == collection_item.c.collection)
    .where(collection_item.c.job.in_(bindparam("jobs", expanding=True)), collection.c.person == bindparam("of_owner"))
    .order_by(collection_item.c.created_at, collection_item.c.collection)
)


def announce_change(tx: Connection, owner: str) -> None:
    """Jobs of this person change in the transaction: notify who follows them once it is committed."""
    tx.info.setdefault(CHANGED_OWNERS, set()).add(owner)


class SqlJobChanges:
    """`bot.ports.JobChanges` on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watching: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        database.on_changes = self._notify

    def _notify(self, owners: frozenset[str]) -> None:
        for owner in owners & self._watching.keys():
            for changed in self._watching[owner]:
                changed.set()

    @contextmanager
    def watch(self, owner: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watching[owner].add(changed)
        try:
            yield changed
        finally:
            self._watching[owner].discard(changed)
            if not self._watching[owner]:
                del self._watching[owner]

    async def last_change(self, owner: str) -> int:
        return await self._database.run_read(lambda tx: last_change(tx, owner))

    async def first_resumable(self, owner: str) -> int:
        return await self._database.run_read(lambda tx: _first_resumable(tx, owner))

    async def list_changes(self, owner: str, after: int, limit: int) -> list[JobChange]:
        return await self._database.run_read(lambda tx: _list_changes(tx, owner, after, limit))

    async def list_open(self, owner: str) -> list[Job]:
        is_open = select(job).where(job.c.owner == owner, or_(IS_QUEUED, IS_RUNNING), job.c.erased.is_(False))
        rows = await self._database.run_read(lambda tx: tx.execute(is_open.order_by(job.c.seq)).all())
        return [to_job(row) for row in rows]

    async def list_marks(self, owner: str, job_ids: Sequence[str]) -> dict[str, PictureMarks]:
        if not job_ids:
            return {}
        return await self._database.run_read(lambda tx: _list_marks(tx, owner, job_ids))


def _first_resumable(tx: Connection, owner: str) -> int:
    details = tx.scalars(select(link_event.c.details).where(link_event.c.person == owner))
    return max((int(one.get("changes", 0)) for one in details), default=0)


def _list_changes(tx: Connection, owner: str, after: int, limit: int) -> list[JobChange]:
    rows = tx.execute(_CHANGES, {"of_owner": owner, "after": after, "most": limit}).all()
    marks = _list_marks(tx, owner, [row.id for row in rows if row.result is not None])
    return [
        JobChange(number=row.changed, job=to_job(row), is_erased=row.erased, marks=marks.get(row.id, UNMARKED))
        for row in rows
    ]


def _list_marks(tx: Connection, owner: str, job_ids: Sequence[str]) -> dict[str, PictureMarks]:
    if not job_ids:
        return {}
    chosen = {"jobs": list(job_ids), "of_owner": owner}
    favourites: defaultdict[str, set[int]] = defaultdict(set)
    for row in tx.execute(_FAVOURITES, chosen):
        favourites[row.job].add(row.picture)
    collected: defaultdict[str, dict[int, tuple[str, ...]]] = defaultdict(dict)
    for item in tx.execute(_COLLECTED, chosen):
        of_job = collected[item.job]
        of_job[item.picture] = (*of_job.get(item.picture, ()), item.collection)
    corrections = find_corrections(tx, owner, job_ids)
    return {
        job_id: PictureMarks(frozenset(favourites[job_id]), collected[job_id], corrections.get(job_id))
        for job_id in favourites.keys() | collected.keys() | corrections.keys()
    }
