"""What people say that captions and answers should have been: `bot.ports.CorrectionStore` on the database."""

from collections.abc import Collection
from dataclasses import asdict, replace

from sqlalchemy import Connection, delete, exists, insert, select

from bot.errors import ImageGone, InvalidOption
from bot.ports import Correction
from storage import consents
from storage.consents import IS_ACTIVE, WITH_CONSENT, to_correction
from storage.database import Database
from storage.jobs import find_job
from storage.learning_tables import consent, correction, withdrawn_example
from storage.mapping import JobRow
from storage.people import refuse_forgotten
from storage.pictures import mark_changed
from storage.schema import job, job_media, media_owner, person
from storage.sources import OWN_SOURCES, find_source, has_image_of_others, repeats_chat_words


class SqlCorrections:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_correction(self, correction: Correction) -> Correction:
        if correction.consented_at is not None:
            await self._database.run_read(lambda tx: _require_own(tx, correction))  # may take long: not in the writer
        return await self._database.run_deletion(lambda tx: _save(tx, correction))

    async def delete_correction(self, job: str, person: str) -> Correction | None:
        return await self._database.run_deletion(lambda tx: _delete(tx, job, person))

    async def find_corrections(self, person: str, jobs: Collection[str]) -> dict[str, Correction]:
        return await self._database.run_read(lambda tx: consents.find_corrections(tx, person, jobs))

    async def list_consented(self) -> list[Correction]:
        return await self._database.run_read(_list_consented)

    async def list_withdrawn(self) -> list[str]:
        oldest = select(withdrawn_example.c.correction).order_by(withdrawn_example.c.withdrawn_at)
        return await self._database.run_read(lambda tx: list(tx.scalars(oldest)))

    async def settle_withdrawn(self, corrections: Collection[str]) -> None:
        settled = delete(withdrawn_example).where(withdrawn_example.c.correction.in_(corrections))
        await self._database.run_write(lambda tx: tx.execute(settled).rowcount)


def _save(tx: Connection, new: Correction) -> Correction:
    row = find_job(tx, new.job, new.person)
    known = consents.find_corrections(tx, new.person, [row.id]).get(row.id)
    is_same_text = known is not None and known.text == new.text
    if known is not None and is_same_text and (known.consented_at is None) == (new.consented_at is None):
        return known
    mark_changed(tx, row)
    if known is not None and is_same_text and new.consented_at is None:
        consents.withdraw_consents(tx, consent.c.correction == known.id)
        return consents.find_corrections(tx, new.person, [row.id])[row.id]
    refuse_forgotten(tx, new.person)
    _require_image(tx, row, new)
    if known is not None:
        consents.delete_corrections(tx, correction.c.id == known.id)
    saved = replace(new, job=row.id)
    stated = asdict(saved)
    tx.execute(insert(correction), {name: stated[name] for name in correction.c.keys()})  # noqa: SIM118 - of columns
    if saved.consented_at is not None:
        given = {"correction": saved.id, "person": saved.person, "given_at": saved.consented_at}
        tx.execute(insert(consent), given)
    return saved


def _require_own(tx: Connection, new: Correction) -> None:
    """Raises: InvalidOption; JobNotFound."""
    if not _is_from_owner(tx, find_job(tx, new.job, new.person)):
        raise InvalidOption("consent", "consent_source")


def _require_image(tx: Connection, row: JobRow, new: Correction) -> None:
    """Raises: ImageGone: also if it was deleted from the job, and uploaded again since."""
    use = job_media.c
    if not tx.scalar(select(exists().where(use.job == row.id, use.media == new.media, use.owner == new.person))):
        raise ImageGone


def _delete(tx: Connection, job_id: str, person_id: str) -> Correction | None:
    row = find_job(tx, job_id, person_id)
    known = consents.find_corrections(tx, person_id, [row.id]).get(row.id)
    if known is not None:
        consents.delete_corrections(tx, correction.c.id == known.id)
        mark_changed(tx, row)
    return known


def _list_consented(tx: Connection) -> list[Correction]:
    is_owner = (media_owner.c.media == correction.c.media) & (media_owner.c.owner == correction.c.person)
    chosen = (
        WITH_CONSENT.join(person, person.c.id == correction.c.person)
        .join(media_owner, is_owner)
        .where(consent.c.given_at.is_not(None), IS_ACTIVE)
        .where(person.c.forgotten.is_(False), person.c.blocked_at.is_(None))
        .order_by(consent.c.given_at, correction.c.id)
    )
    corrections = [to_correction(row) for row in tx.execute(chosen)]
    chat_prompts: dict[str, frozenset[str]] = {}
    return [one for one in corrections if _is_own(tx, one, chat_prompts)]


def _is_own(tx: Connection, one: Correction, chat_prompts: dict[str, frozenset[str]]) -> bool:
    """An image that anybody else got through a chat or another program does not count as its owner's alone, nor does
    what was made from it."""
    row = tx.execute(select(job).where(job.c.id == one.job, job.c.erased.is_(False))).one_or_none()
    return row is not None and _is_from_owner(tx, row, chat_prompts) and not has_image_of_others(tx, row)


def _is_from_owner(tx: Connection, row: JobRow, chat_prompts: dict[str, frozenset[str]] | None = None) -> bool:
    return find_source(tx, row) in OWN_SOURCES and not repeats_chat_words(tx, row, chat_prompts)
