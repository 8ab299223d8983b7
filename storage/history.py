"""A person's jobs, newest first, with full-text search."""

from sqlalchemy import Connection, ScalarSelect, select

from bot.jobs import Job, JobState
from storage.database import Database
from storage.mapping import to_job
from storage.schema import job


class SqlHistory:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_jobs(
        self, owner: str, *, state: JobState | None, q: str, before: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """`before` is the id of the previous page's last job."""
        return await self._database.run_read(lambda tx: self._page(tx, owner, state, q.strip(), before, limit))

    def _page(
        self, tx: Connection, owner: str, state: JobState | None, q: str, before: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        query = select(job).where(job.c.owner == owner, job.c.erased.is_(False)).order_by(job.c.seq.desc())
        if state is not None:
            query = query.where(job.c.state == state)
        if before is not None:
            query = query.where(job.c.seq < _number(before, owner))
        if q:
            matching = self._database.dialect.match_text(owner, q)
            if matching is None:
                return [], None
            query = query.where(job.c.seq.in_(matching))
        rows = tx.execute(query.limit(limit + 1)).all()
        page = [to_job(row) for row in rows[:limit]]
        return page, page[-1].id if page and len(rows) > limit else None


def _number(job_id: str, owner: str) -> ScalarSelect[int]:
    return select(job.c.seq).where(job.c.id == job_id, job.c.owner == owner).scalar_subquery()
