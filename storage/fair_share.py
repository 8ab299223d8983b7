"""Who is owed how much: virtual time, waiting and running jobs of each person and space.

Start-time fair queueing on two levels. Claiming moves virtual time by the estimate, ending corrects it by what
was really used. Whoever was idle starts where the others have got to: idleness is no credit, past use no debt.
"""

from datetime import datetime

from sqlalchemy import BindParameter, ColumnElement, Connection, Table, bindparam, func, insert, select, update

from storage.mapping import JobRow
from storage.schema import PERSON_IS_ACTIVE, SPACE_IS_ACTIVE, person_load, person_share, space, space_share

_KNOWN_SPACE = select(space.c.id).where(space.c.id == bindparam("of_space"))


def join(tx: Connection, *, space_id: str, platform: str, person: str, jobs: int, now: datetime) -> None:
    """Count newly queued jobs. The person's load is `accept`'s to count, because it is limited."""
    names = {"of_space": space_id, "of_person": person}
    if not _SPACES.join(tx, names, jobs):
        if tx.scalar(_KNOWN_SPACE, names) is None:  # its admins may have chosen its policy before anybody asked
            tx.execute(insert(space), {"id": space_id, "platform": platform, "created_at": now})
        _SPACES.open(tx, names, {"space": space_id}, jobs)
    if not _PERSONS.join(tx, names, jobs):
        _PERSONS.open(tx, names, {"space": space_id, "person": person}, jobs)


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
    names = {"of_space": row.space, "of_person": row.owner}
    by = {"by_backlog": backlog, "by_running": running, "by_vtime": vtime}
    tx.execute(_SPACES.change, names | by)
    tx.execute(_PERSONS.change, names | by)
    tx.execute(_CHANGE_LOAD, names | {"by_running": running, "by_outstanding": backlog + running})


class _Level:
    """One kind of lane, with its statements ready made: `is_it` tells which, `rivals` those it shares with."""

    def __init__(
        self, table: Table, is_it: ColumnElement[bool], is_active: ColumnElement[bool], *rivals: ColumnElement[bool]
    ) -> None:
        lane = table.c
        backlog = lane.backlog + bindparam("by_backlog")
        self._table = table
        self._standing = select(lane.vtime, (lane.backlog + lane.running).label("jobs")).where(is_it)
        self._lowest = select(func.min(lane.vtime)).where(*rivals, is_active)
        self._highest = select(func.max(lane.vtime)).where(*rivals)
        self._grow = update(table).where(is_it).values(backlog=backlog, vtime=bindparam("to_vtime"))
        self.change = (
            update(table)
            .where(is_it)
            .values(
                backlog=backlog,
                running=lane.running + bindparam("by_running"),
                vtime=lane.vtime + bindparam("by_vtime"),
            )
        )

    def join(self, tx: Connection, names: dict[str, str], jobs: int) -> bool:
        """False: there is no such lane yet."""
        lane = tx.execute(self._standing, names).one_or_none()
        if lane is None:
            return False
        vtime = lane.vtime if lane.jobs else max(lane.vtime, self._reached(tx, names))
        tx.execute(self._grow, {**names, "by_backlog": jobs, "to_vtime": vtime})
        return True

    def open(self, tx: Connection, names: dict[str, str], key: dict[str, str], jobs: int) -> None:
        row = {**key, "vtime": self._reached(tx, names), "backlog": jobs, "running": 0}
        tx.execute(insert(self._table), row)

    def _reached(self, tx: Connection, names: dict[str, str]) -> float:
        """The virtual time of the furthest-behind rival with work, or, when all are idle, of the furthest ahead."""
        lowest: float | None = tx.scalar(self._lowest, names)
        return (tx.scalar(self._highest, names) if lowest is None else lowest) or 0.0


_OF_SPACE: BindParameter[str] = bindparam("of_space")
_OF_PERSON: BindParameter[str] = bindparam("of_person")
_IN_SPACE = person_share.c.space == _OF_SPACE
_SPACES = _Level(space_share, space_share.c.space == _OF_SPACE, SPACE_IS_ACTIVE)
_PERSONS = _Level(person_share, _IN_SPACE & (person_share.c.person == _OF_PERSON), PERSON_IS_ACTIVE, _IN_SPACE)
_CHANGE_LOAD = (
    update(person_load)
    .where(person_load.c.person == _OF_PERSON)
    .values(
        running=person_load.c.running + bindparam("by_running"),
        outstanding=person_load.c.outstanding + bindparam("by_outstanding"),
    )
)
