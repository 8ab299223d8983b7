"""Fair-share accounting: virtual time, waiting and running jobs of each person and space.

Start-time fair queueing on two levels. Claiming a job advances virtual time by its estimate; its end corrects it by the
time used. A lane that was idle re-enters at the current virtual time: idling earns no credit, past use is no debt.
"""

from datetime import datetime

from sqlalchemy import BindParameter, ColumnElement, Connection, Table, bindparam, func, insert, select, update

from storage.mapping import JobRow
from storage.schema import PERSON_IS_ACTIVE, SPACE_IS_ACTIVE, person_load, person_share, space, space_share

_KNOWN_SPACE = select(space.c.id).where(space.c.id == bindparam("of_space"))


def add_queued(tx: Connection, *, space_id: str, platform: str, person: str, jobs: int, now: datetime) -> None:
    """Count newly queued jobs. `storage.accept` counts the person's load, which is limited."""
    names = {"of_space": space_id, "of_person": person}
    if not _SPACES.add_jobs(tx, names, jobs):
        if tx.scalar(_KNOWN_SPACE, names) is None:  # setting its policy may have created it already
            tx.execute(insert(space), {"id": space_id, "platform": platform, "created_at": now})
        _SPACES.create_lane(tx, names, {"space": space_id}, jobs)
    if not _PERSONS.add_jobs(tx, names, jobs):
        _PERSONS.create_lane(tx, names, {"space": space_id, "person": person}, jobs)


def start_job(tx: Connection, row: JobRow) -> None:
    """A queued job starts: charge its estimate."""
    _update_lanes(tx, row, backlog=-1, running=1, vtime=row.estimate_s)


def return_to_queue(tx: Connection, row: JobRow, used_s: float) -> None:
    _update_lanes(tx, row, backlog=1, running=-1, vtime=used_s - row.estimate_s)


def leave_running(tx: Connection, row: JobRow, used_s: float) -> None:
    _update_lanes(tx, row, running=-1, vtime=used_s - row.estimate_s)


def leave_queue(tx: Connection, row: JobRow) -> None:
    _update_lanes(tx, row, backlog=-1)


def _update_lanes(tx: Connection, row: JobRow, *, backlog: int = 0, running: int = 0, vtime: float = 0.0) -> None:
    names = {"of_space": row.space, "of_person": row.owner}
    by = {"by_backlog": backlog, "by_running": running, "by_vtime": vtime}
    tx.execute(_SPACES.update_lane, names | by)
    tx.execute(_PERSONS.update_lane, names | by)
    tx.execute(_CHANGE_LOAD, names | {"by_running": running, "by_outstanding": backlog + running})


class _LaneTable:
    """Prepared statements for one level of lanes: `is_lane` selects a lane, `rivals` those that it competes with."""

    def __init__(
        self, table: Table, is_lane: ColumnElement[bool], is_active: ColumnElement[bool], *rivals: ColumnElement[bool]
    ) -> None:
        lane = table.c
        backlog = lane.backlog + bindparam("by_backlog")
        self._table = table
        self._lane = select(lane.vtime, (lane.backlog + lane.running).label("jobs")).where(is_lane)
        self._lowest = select(func.min(lane.vtime)).where(*rivals, is_active)
        self._highest = select(func.max(lane.vtime)).where(*rivals)
        self._grow = update(table).where(is_lane).values(backlog=backlog, vtime=bindparam("to_vtime"))
        self.update_lane = (
            update(table)
            .where(is_lane)
            .values(
                backlog=backlog,
                running=lane.running + bindparam("by_running"),
                vtime=lane.vtime + bindparam("by_vtime"),
            )
        )

    def add_jobs(self, tx: Connection, names: dict[str, str], jobs: int) -> bool:
        """False: the lane does not exist yet."""
        lane = tx.execute(self._lane, names).one_or_none()
        if lane is None:
            return False
        vtime = lane.vtime if lane.jobs else max(lane.vtime, self._current_vtime(tx, names))
        tx.execute(self._grow, {**names, "by_backlog": jobs, "to_vtime": vtime})
        return True

    def create_lane(self, tx: Connection, names: dict[str, str], key: dict[str, str], jobs: int) -> None:
        row = {**key, "vtime": self._current_vtime(tx, names), "backlog": jobs, "running": 0}
        tx.execute(insert(self._table), row)

    def _current_vtime(self, tx: Connection, names: dict[str, str]) -> float:
        """The lowest virtual time of active rivals or, if all are idle, the highest."""
        lowest: float | None = tx.scalar(self._lowest, names)
        return (tx.scalar(self._highest, names) if lowest is None else lowest) or 0.0


_OF_SPACE: BindParameter[str] = bindparam("of_space")
_OF_PERSON: BindParameter[str] = bindparam("of_person")
_IN_SPACE = person_share.c.space == _OF_SPACE
_SPACES = _LaneTable(space_share, space_share.c.space == _OF_SPACE, SPACE_IS_ACTIVE)
_PERSONS = _LaneTable(person_share, _IN_SPACE & (person_share.c.person == _OF_PERSON), PERSON_IS_ACTIVE, _IN_SPACE)
_CHANGE_LOAD = (
    update(person_load)
    .where(person_load.c.person == _OF_PERSON)
    .values(
        running=person_load.c.running + bindparam("by_running"),
        outstanding=person_load.c.outstanding + bindparam("by_outstanding"),
    )
)
