"""What was blocked, before it was accepted and while it ran: `bot.ports.Refusals` on the database."""

import re
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select

from bot.errors import Blocked
from bot.ports import BlockedRequest, ListPage
from storage.administration import IS_FAILED, OF_OWNER, count_rows
from storage.database import Database
from storage.mapping import to_job
from storage.measuring import count_after_commit
from storage.moderation_tables import refusal
from storage.people import refuse_forgotten, to_person
from storage.schema import job, person, utcnow

_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})")
_IS_BLOCKED = and_(IS_FAILED, job.c.error["code"].as_string() == Blocked.code, job.c.erased.is_(False))
Numbered = tuple[int, BlockedRequest]
"""With the number of its row, by which the next page begins."""


class SqlRefusals:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_refusal(
        self, person_id: str, *, platform: str, command: str, reason: str, keep: int, keep_since: datetime
    ) -> None:
        row = {"person": person_id, "platform": platform, "command": command, "reason": reason, "at": utcnow()}
        await self._database.run_write(lambda tx: _add(tx, row, keep, keep_since))

    async def list_blocked(self, *, before: str | None, limit: int) -> ListPage[BlockedRequest]:
        return await self._database.run_read(lambda tx: _list_page(tx, before, limit))


def _add(tx: Connection, row: dict[str, Any], keep: int, keep_since: datetime) -> None:
    count_after_commit(tx, lambda metrics: metrics.count_blocked(row["reason"]))
    refuse_forgotten(tx, row["person"])
    tx.execute(insert(refusal), row)
    r, is_own = refusal.c, refusal.c.person == row["person"]
    newest = select(r.id).where(is_own).order_by(r.id.desc()).limit(keep)
    tx.execute(delete(refusal).where((is_own & r.id.not_in(newest)) | (r.at < keep_since)))


def _list_page(tx: Connection, before: str | None, limit: int) -> ListPage[BlockedRequest]:
    """The newest of two lists, each read from its own place."""
    match = _CURSOR.fullmatch(before or "")
    seq, number = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    lists = (_read_jobs(tx, seq, limit + 1), _read_refusals(tx, number, limit + 1))
    found = list(merge(*lists, key=lambda one: one[1].at, reverse=True))[: limit + 1]
    page = found[:limit]
    seq = next((place for place, one in reversed(page) if one.job is not None), seq)
    number = next((place for place, one in reversed(page) if one.job is None), number)
    total = count_rows(tx, job, _IS_BLOCKED) + count_rows(tx, refusal)
    more = f"{seq}-{number}" if len(found) > limit else None
    return ListPage(items=tuple(one for _, one in page), total=total, next=more)


def _read_jobs(tx: Connection, seq: int, limit: int) -> Iterator[Numbered]:
    query = OF_OWNER.where(_IS_BLOCKED, *([job.c.seq < seq] if seq else [])).order_by(job.c.seq.desc())
    for row in tx.execute(query.limit(limit)):
        one = to_job(row)
        yield (
            row._mapping[job.c.seq],
            BlockedRequest(
                person=to_person(row), platform=one.origin.platform, command=one.command, at=one.created_at, job=one
            ),
        )


def _read_refusals(tx: Connection, number: int, limit: int) -> Iterator[Numbered]:
    r = refusal.c
    columns = (r.id.label("number"), r.platform, r.command, r.reason, r.at, person)
    query = select(*columns).join(person, person.c.id == r.person).order_by(r.id.desc())
    for row in tx.execute((query.where(r.id < number) if number else query).limit(limit)):
        yield (
            row.number,
            BlockedRequest(
                person=to_person(row), platform=row.platform, command=row.command, reason=row.reason, at=row.at
            ),
        )
