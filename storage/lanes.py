"""Who is owed how much: virtual time, waiting and running jobs of each person and space.

Start-time fair queueing on two levels. Claiming moves virtual time by the estimate, ending corrects it by what
was really used. Whoever was idle starts where the others have got to: idleness is no credit, past use no debt.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select, update

from storage.rows import JobRow
from storage.schema import PERSON_IS_ACTIVE, SPACE_IS_ACTIVE, person_load, person_share, space, space_share


def ensure_space(tx: Connection, space_id: str, platform: str, now: datetime) -> None:
    if tx.scalar(select(space.c.id).where(space.c.id == space_id)) is None:
        tx.execute(insert(space), {"id": space_id, "platform": platform, "created_at": now})


def join(tx: Connection, space_id: str, person: str, jobs: int) -> None:
    """Count newly queued jobs. The person's load is `accept`'s to count, because it is limited."""
    _join(tx, _space_level(space_id), jobs)
    _join(tx, _person_level(space_id, person), jobs)


def start(tx: Connection, row: JobRow) -> None:
    """A queued job runs now: charge its estimate."""
    _move(tx, row, backlog=-1, running=1, vtime=row.estimate_s)


def return_to_queue(tx: Connection, row: JobRow, used_s: float) -> None:
    _move(tx, row, backlog=1, running=-1, vtime=used_s - row.estimate_s)


def leave_running(tx: Connection, row: JobRow, used_s: float) -> None:
    _move(tx, row, running=-1, vtime=used_s - row.estimate_s)


def leave_queue(tx: Connection, row: JobRow) -> None:
    _move(tx, row, backlog=-1)


def _move(tx: Connection, row: JobRow, *, backlog: int = 0, running: int = 0, vtime: float = 0.0) -> None:
    for table, key in (
        (space_share, space_share.c.space == row.space),
        (person_share, (person_share.c.space == row.space) & (person_share.c.person == row.owner)),
    ):
        tx.execute(
            update(table)
            .where(key)
            .values(backlog=table.c.backlog + backlog, running=table.c.running + running, vtime=table.c.vtime + vtime)
        )
    load = person_load.c
    tx.execute(
        update(person_load)
        .where(load.person == row.owner)
        .values(running=load.running + running, outstanding=load.outstanding + backlog + running)
    )


@dataclass(frozen=True)
class _Level:
    """One kind of lane, the lane in question, and those that it shares with."""

    table: Table
    names: dict[str, str]
    rivals: ColumnElement[bool] | None
    is_active: ColumnElement[bool]


def _space_level(space_id: str) -> _Level:
    return _Level(space_share, {"space": space_id}, None, SPACE_IS_ACTIVE)


def _person_level(space_id: str, person: str) -> _Level:
    return _Level(
        person_share,
        {"space": space_id, "person": person},
        person_share.c.space == space_id,
        PERSON_IS_ACTIVE,
    )


def _join(tx: Connection, level: _Level, jobs: int) -> None:
    table = level.table
    key = [table.c[name] == value for name, value in level.names.items()]
    lane = tx.execute(select(table.c.vtime, table.c.backlog, table.c.running).where(*key)).one_or_none()
    if lane is None:
        row = {**level.names, "vtime": _reached(tx, level), "backlog": jobs, "running": 0}
        tx.execute(insert(table), row)
        return
    is_idle = lane.backlog + lane.running == 0
    vtime = max(lane.vtime, _reached(tx, level)) if is_idle else lane.vtime
    tx.execute(update(table).where(*key).values(vtime=vtime, backlog=table.c.backlog + jobs))


def _reached(tx: Connection, level: _Level) -> float:
    """The virtual time of the furthest-behind rival with work, or, when all are idle, of the furthest ahead."""
    vtime = level.table.c.vtime
    rivals = [] if level.rivals is None else [level.rivals]
    lowest = tx.scalar(select(func.min(vtime)).where(*rivals, level.is_active))
    if lowest is None:
        lowest = tx.scalar(select(func.max(vtime)).where(*rivals))
    return lowest or 0.0
