"""A grid's one message on a chat platform: it belongs to one of the grid's jobs, the only one that wants delivery.

Its result waits for the last cell. When that job is erased, the message goes to another cell; when any cell is, the
message is delivered again without it.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, insert, select, update

from bot.jobs import JobState
from storage.changes import announce_change
from storage.mapping import JobRow, next_version
from storage.picture_tables import batch
from storage.retractions import enqueue_retraction
from storage.schema import job, message, outbox, utcnow

GRID = "grid"
"""The kind of a batch that has one message for all of its jobs."""
_MESSAGES = ("placeholder", "result")
_OPEN = (JobState.QUEUED, JobState.RUNNING)
_cell = job.alias("cell")
_lead = job.alias("lead")


def has_open_cells(batch_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a job of this grid has not ended."""
    of_grid = (_cell.c.batch == batch_id, batch.c.id == batch_id, batch.c.kind == GRID)
    return exists().where(*of_grid, _cell.c.state.in_(_OPEN))


def waits_for_cells() -> ColumnElement[bool]:
    """Whether the job of a row of `outbox` is of a grid that has not ended."""
    return exists().where(_lead.c.id == outbox.c.job, _lead.c.batch.is_not(None), has_open_cells(_lead.c.batch))


def keep_grid_messages(
    tx: Connection, rows: Sequence[JobRow], *, retracts: bool = False, besides: str = ""
) -> Sequence[JobRow]:
    """Before these jobs are erased, hand over the messages of grids that keep other cells; returns the rows as they are
    then.

    `retracts`: other messages that show whole sheets of these grids are deleted, except on the platform `besides`.
    """
    grids = {row._mapping[job.c.batch] for row in rows} - {None}
    if not grids:
        return rows
    gone = {row.id for row in rows}
    for grid in tx.scalars(select(batch.c.id).where(batch.c.id.in_(grids), batch.c.kind == GRID)).all():
        lead = _keep_message(tx, grid, gone)
        if lead is not None and retracts:
            _retract_copies(tx, lead, besides)
    found = {row.id: row for row in tx.execute(select(job).where(job.c.id.in_(gone)))}
    return [found[row.id] for row in rows]


def _keep_message(tx: Connection, grid: str, gone: Collection[str]) -> str | None:
    """The job that has the message then; None: there is no message, or all of the grid goes."""
    of_grid = select(job).where(job.c.batch == grid, job.c.erased.is_(False)).order_by(job.c.seq)
    cells = tx.execute(of_grid).all()
    lead = next((cell for cell in cells if cell.wants_delivery), None)
    heir = next((cell for cell in cells if cell.id not in gone), None)
    if lead is None or heir is None:
        return None
    if lead.id in gone:
        _hand_over(tx, lead, heir)
        lead = heir
    deliver_again(tx, lead.id)
    return str(lead.id)


def _retract_copies(tx: Connection, lead: str, besides: str) -> None:
    """Sheets that were sent again still show what is erased. Messages of one picture have its number."""
    own = select(outbox.c.message_ref).where(outbox.c.job == lead, outbox.c.message_ref.is_not(None))
    is_copy = (message.c.job == lead, message.c.picture.is_(None), message.c.ref.not_in(own))
    copies = tx.execute(select(message.c.platform, message.c.ref).where(*is_copy, message.c.platform != besides)).all()
    for platform in {copy.platform for copy in copies}:
        enqueue_retraction(tx, lead, platform, [copy.ref for copy in copies if copy.platform == platform])
    tx.execute(delete(message).where(*is_copy, message.c.platform != besides))


def refresh_grid_message(tx: Connection, row: JobRow) -> None:
    """A picture of this job is gone: the message of its grid is delivered again."""
    of_grid = (job.c.batch == row._mapping[job.c.batch], batch.c.id == job.c.batch, batch.c.kind == GRID)
    lead = tx.scalar(select(job.c.id).where(*of_grid, job.c.wants_delivery.is_(True), job.c.id != row.id))
    if lead is not None:
        deliver_again(tx, lead)


def deliver_again(tx: Connection, job_id: str) -> None:
    """The message shows what is there now. What is being sent meanwhile counts as outdated (`storage.outbox`)."""
    owner = tx.scalars(update(job).where(job.c.id == job_id).values(**next_version()).returning(job.c.owner)).one()
    announce_change(tx, owner)
    is_sent = (outbox.c.job == job_id, outbox.c.kind == "result", outbox.c.state == "sent")
    tx.execute(update(outbox).where(*is_sent).values(state="pending", tries=0, due_at=utcnow()))


def _hand_over(tx: Connection, lead: Row[tuple[object, ...]], heir: Row[tuple[object, ...]]) -> None:
    """Messages that show the first cell alone, which have its picture's number, stay its own."""
    rows = (outbox.c.job == lead.id, outbox.c.kind.in_(_MESSAGES))
    shown = select(outbox.c.message_ref).where(*rows, outbox.c.message_ref.is_not(None))
    refs = list(tx.scalars(shown))
    of_grid = (message.c.job == lead.id, message.c.ref.in_(refs) | message.c.picture.is_(None))
    tx.execute(update(message).where(*of_grid).values(job=heir.id))
    tx.execute(update(outbox).where(*rows).values(job=heir.id))
    for job_id, wants_delivery in ((lead.id, False), (heir.id, True)):
        tx.execute(update(job).where(job.c.id == job_id).values(wants_delivery=wants_delivery))
    result = (outbox.c.job == heir.id, outbox.c.kind == "result")
    if heir.state in _OPEN:  # its end writes the row
        tx.execute(delete(outbox).where(*result))
    elif tx.scalar(select(outbox.c.id).where(*result)) is None:
        now = utcnow()
        new = {"job": heir.id, "kind": "result", "state": "pending", "tries": 0, "reason": ""}
        tx.execute(insert(outbox), {**new, "due_at": now, "created_at": now})
