"""A person's jobs, newest first, with full-text search."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, exists, func, select

from bot.jobs import Job, JobState
from bot.ports import ALL_JOBS, HistoryFilter
from bot.ports.batches import GRID
from storage.database import Database
from storage.mapping import to_job
from storage.media_queries import SHEET
from storage.picture_collections import is_collected
from storage.picture_tables import batch
from storage.pictures import has_favourites
from storage.schema import job, job_media


class SqlHistory:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_jobs(
        self,
        owner: str,
        *,
        state: JobState | None,
        q: str,
        only: HistoryFilter = ALL_JOBS,
        before: str | None,
        after: str | None = None,
        limit: int,
    ) -> tuple[list[Job], str | None]:
        """`before` is the id of the previous page's last job, `after` that of its first."""
        chosen = self._choose(owner, state, q, only)
        if chosen is None:
            return [], None
        return await self._database.run_read(lambda tx: _page(tx, owner, chosen, before, after, limit))

    async def count_jobs(self, owner: str, *, state: JobState | None, q: str, only: HistoryFilter = ALL_JOBS) -> int:
        chosen = self._choose(owner, state, q, only)
        if chosen is None:
            return 0
        counted = select(func.count()).select_from(job).where(*chosen)
        return await self._database.run_read(lambda tx: tx.scalar(counted) or 0)

    async def list_ids(
        self,
        owner: str,
        *,
        state: JobState | None,
        q: str,
        only: HistoryFilter = ALL_JOBS,
        among: Collection[str] | None = None,
        limit: int,
    ) -> list[str]:
        chosen = self._choose(owner, state, q, only)
        if chosen is None:
            return []
        if among is not None:
            chosen.append(job.c.id.in_(among))
        query = select(job.c.id).where(*chosen).order_by(job.c.seq.desc()).limit(limit)
        return await self._database.run_read(lambda tx: list(tx.scalars(query)))

    async def get_listed(
        self, owner: str, job_ids: Sequence[str], *, state: JobState | None, only: HistoryFilter = ALL_JOBS
    ) -> list[Job]:
        chosen = self._choose(owner, state, "", only)
        query = select(job).where(*(chosen or ()), job.c.id.in_(job_ids))
        found = await self._database.run_read(lambda tx: {row.id: to_job(row) for row in tx.execute(query)})
        return [found[one] for one in job_ids if one in found]

    def _choose(
        self, owner: str, state: JobState | None, q: str, only: HistoryFilter
    ) -> list[ColumnElement[bool]] | None:
        """The conditions of a list; None: nothing can match."""
        chosen = [job.c.owner == owner, job.c.erased.is_(False)]
        given: dict[Any, Any] = {
            job.c.state: state, job.c.command: only.command, job.c.model: only.model, job.c.parent: only.parent
        }  # fmt: skip
        chosen += [column == value for column, value in given.items() if value]
        if only.grids_once:
            chosen.append(~_has_newer_cells())
        if only.favourite:
            chosen.append(has_favourites(owner))
        if only.collection:
            chosen.append(is_collected(owner, only.collection))
        if only.results:
            chosen.append(job.c.state.in_([JobState.RENDERED, JobState.DELIVERED]))  # by the index
        if only.image:
            chosen.append(job.c.id.in_(_given_to(owner, only.image)))
        if only.since is not None:
            chosen.append(job.c.created_at >= only.since)
        if only.until is not None:
            chosen.append(job.c.created_at < only.until)
        if q := q.strip():
            matching = self._database.dialect.match_text(owner, q)
            if matching is None:
                return None
            chosen.append(job.c.seq.in_(matching))
        return chosen


def _has_newer_cells() -> ColumnElement[bool]:
    """Whether the job is of a grid whose last job it is not."""
    newer = job.alias("newer")
    of_grid = (batch.c.id == job.c.batch, batch.c.kind == GRID, newer.c.batch == job.c.batch)
    return exists().where(*of_grid, newer.c.seq > job.c.seq, newer.c.erased.is_(False))


def _given_to(owner: str, media_id: str) -> Select[tuple[str]]:
    """The ids of the owner's jobs that were given the image."""
    use = job_media.c
    return select(use.job).where(use.media == media_id, use.owner == owner, use.role.not_in(["output", SHEET]))


def _page(
    tx: Connection, owner: str, chosen: list[ColumnElement[bool]], before: str | None, after: str | None, limit: int
) -> tuple[list[Job], str | None]:
    query = select(job).where(*chosen).order_by(job.c.seq.desc() if after is None else job.c.seq.asc())
    if before is not None:
        query = query.where(job.c.seq < _number(before, owner))
    if after is not None:
        query = query.where(job.c.seq > _number(after, owner))
    rows = tx.execute(query.limit(limit + 1)).all()
    page = [to_job(row) for row in rows[:limit]]
    following = page[-1].id if page and len(rows) > limit else None
    return page if after is None else page[::-1], following


def _number(job_id: str, owner: str) -> ScalarSelect[int]:
    return select(job.c.seq).where(job.c.id == job_id, job.c.owner == owner).scalar_subquery()
