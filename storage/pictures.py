"""Single pictures of a job, by their numbers: favourites, and deleting one of several."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, tuple_, update

from bot.errors import ImageGone, NotFound
from bot.jobs import Result
from storage.batch_rows import drop_sheets, list_batches
from storage.changes import announce_change
from storage.database import Database
from storage.grid_messages import refresh_grid_message
from storage.jobs import find_job
from storage.mapping import JobRow, from_result, next_change, next_version, to_result
from storage.media_queries import SHEET, disown_if_unused
from storage.picture_tables import collection_item, favourite, report
from storage.schema import job, job_media, message, outbox, utcnow


class SqlPictures:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_favourite(self, person_id: str, job_id: str, number: int, *, is_favourite: bool) -> None:
        if is_favourite:
            await self._database.run_write(lambda tx: _add_favourite(tx, person_id, job_id, number))
        else:
            await self._database.run_deletion(lambda tx: _remove_favourite(tx, person_id, job_id, number))

    async def toggle_favourite(self, person_id: str, job_id: str, number: int) -> bool:
        return await self._database.run_write(lambda tx: _toggle_favourite(tx, person_id, job_id, number))


def find_place(tx: Connection, job_id: str, owner: str, number: int) -> tuple[JobRow, Result]:
    """The owner's job and its result, which has or had a picture with this number. Raises: JobNotFound, NotFound."""
    row = find_job(tx, job_id, owner)
    result = to_result(row.result)
    if result is None or not 1 <= number <= result.places:
        raise NotFound("picture", str(number))
    return row, result


def _add_favourite(tx: Connection, person_id: str, job_id: str, number: int) -> None:
    """Idempotent. Raises: JobNotFound, NotFound, ImageGone."""
    row, result = find_place(tx, job_id, person_id, number)
    if result.find_picture(number) is None:
        raise ImageGone
    if not tx.scalar(select(exists().where(*_is_favourite(person_id, row.id, number)))):
        new = {"person": person_id, "job": row.id, "picture": number, "created_at": utcnow()}
        tx.execute(insert(favourite), new)
        mark_changed(tx, row)


def _remove_favourite(tx: Connection, person_id: str, job_id: str, number: int) -> None:
    row, _ = find_place(tx, job_id, person_id, number)
    if tx.execute(delete(favourite).where(*_is_favourite(person_id, row.id, number))).rowcount:
        mark_changed(tx, row)


def mark_changed(tx: Connection, row: JobRow) -> None:
    """What is kept of the job's pictures has changed; its own message need not be delivered again."""
    tx.execute(update(job).where(job.c.seq == row.seq).values(**next_change()))
    announce_change(tx, row.owner)


def _toggle_favourite(tx: Connection, person_id: str, job_id: str, number: int) -> bool:
    """Whether it is one now."""
    row, _ = find_place(tx, job_id, person_id, number)
    if tx.execute(delete(favourite).where(*_is_favourite(person_id, row.id, number))).rowcount:
        mark_changed(tx, row)
        return False
    _add_favourite(tx, person_id, row.id, number)
    return True


def _is_favourite(person_id: str, job_id: str, number: int) -> tuple[ColumnElement[bool], ...]:
    return favourite.c.person == person_id, favourite.c.job == job_id, favourite.c.picture == number


def has_favourites(person_id: str) -> ColumnElement[bool]:
    """Whether a picture of a row of `job` is one of the person's favourites."""
    starred = job.alias("starred")  # a list of their numbers is faster than a look-up for each job of the person
    return job.c.seq.in_(select(starred.c.seq).join(favourite).where(favourite.c.person == person_id))


def erase_picture(tx: Connection, row: JobRow, result: Result, number: int) -> list[tuple[str, str]]:
    """Erase one of several pictures and what refers to it; the others keep their numbers.

    Its messages are the caller's to delete; the job's own message is delivered again, without it. Returns (id, type) of
    images that nobody owns any more.
    """
    tx.execute(update(job).where(job.c.seq == row.seq).values(result=_without(result, number), **next_version()))
    announce_change(tx, row.owner)
    for table in (favourite, collection_item, report):
        tx.execute(delete(table).where(table.c.job == row.id, table.c.picture == number))
    tx.execute(delete(message).where(message.c.job == row.id, message.c.picture == number))
    is_resent = (outbox.c.job == row.id, outbox.c.kind == "result", outbox.c.state == "sent")
    tx.execute(update(outbox).where(*is_resent).values(state="pending", tries=0, due_at=utcnow()))
    refresh_grid_message(tx, row)
    shown = tuple_(job_media.c.role, job_media.c.position).in_([("output", number - 1), (SHEET, 0)])
    used = delete(job_media).where(job_media.c.job == row.id, shown).returning(job_media.c.media)
    sheets = drop_sheets(tx, list_batches(tx, [row.id]), is_due=True)
    return disown_if_unused(tx, [*tx.scalars(used), *sheets], row.owner)


def _without(result: Result, number: int) -> dict[str, Any]:
    left = from_result(result)
    left["media"] = [image for image in left["media"] if image["number"] != number]
    return left


def is_last_picture(result: Result, number: int) -> bool:
    return {image.number for image in result.media} <= {number}
