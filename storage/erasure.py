"""Erases personal data in the database: one job, or everything of a person. `storage.privacy` handles the files.

Rows that the ledger depends on stay, empty and anonymous: jobs, ledger, quota. `audit.find_problems` stays empty.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from bot.errors import NotFound
from bot.jobs import Job, JobError, JobState, Origin, Result
from bot.problem_texts.link_problems import LinkRefused
from storage import people, transitions
from storage.batch_rows import leave_batch
from storage.blocking import remember_block
from storage.changes import announce_change
from storage.consents import delete_corrections, forget_corrections
from storage.dialect import Dialect
from storage.grid_messages import keep_grid_messages
from storage.learning_tables import correction
from storage.link_tables import carried_usage, link_code, link_event
from storage.mapping import JobRow, from_result, next_version, to_job
from storage.media_queries import delete_ownerless, disown_if_unused, is_used
from storage.moderation_tables import refusal
from storage.picture_tables import batch, batch_sheet, collection, collection_item, favourite, report, session
from storage.retractions import retract_messages
from storage.schema import (
    IS_ENDED,
    IS_PENDING,
    account,
    api_key,
    job,
    job_media,
    media_owner,
    message,
    outbox,
    person,
    person_setting,
    person_share,
    space,
    space_share,
    utcnow,
)

FORGOTTEN_NAME = "somebody"
"""The name of forgotten persons."""
FORGOTTEN_SPACE = "forgotten-"
"""The ids of their private chats begin with it, after the platform."""


@dataclass(frozen=True)
class ErasedJobs:
    """The jobs before their erasure, and the files that nobody owns any more, as (id, type)."""

    jobs: tuple[Job, ...]
    files: tuple[tuple[str, str], ...]


def erase_jobs(
    tx: Connection, dialect: Dialect, rows: Sequence[JobRow], *, retracts: bool = False, besides: str = ""
) -> ErasedJobs:
    """`retracts`: their chat messages are deleted, too, except those of the platform `besides`."""
    files: list[tuple[str, str]] = []
    for row in keep_grid_messages(tx, rows, retracts=retracts, besides=besides):
        if row.state == JobState.QUEUED:
            transitions.cancel_queued(tx, row)
        elif row.state == JobState.RUNNING:
            tx.execute(update(job).where(job.c.seq == row.seq).values(cancel_requested=True))
        if retracts:
            retract_messages(tx, row, besides=besides)
        _cancel_messages(tx, row.id)
        for table in (favourite, collection_item, report):
            tx.execute(delete(table).where(table.c.job == row.id))
        delete_corrections(tx, correction.c.job == row.id)
        dialect.remove_text(tx, row.seq)
        tx.execute(update(job).where(job.c.seq == row.seq).values(**next_version(), **_emptied_columns(row)))
        announce_change(tx, row.owner)
        files += _leave_batch(tx, row)
        files += _disown_media(tx, row)
    return ErasedJobs(tuple(to_job(row) for row in rows), tuple(files))


def _cancel_messages(tx: Connection, job_id: str) -> None:
    """Cancel its pending messages, and remove the references from messages to it."""
    of_job = (outbox.c.job == job_id) & (outbox.c.kind != "retract")  # that deletes the messages, so it stays
    tx.execute(update(outbox).where(of_job, IS_PENDING).values(state="undeliverable"))
    tx.execute(update(outbox).where(of_job).values(message_ref=None, reason=""))
    tx.execute(delete(message).where(message.c.job == job_id))


def _emptied_columns(row: JobRow) -> dict[str, Any]:
    origin = row._mapping[job.c.origin]
    anonymous = Origin(platform=origin["platform"], space_id="", account_id="", locale=origin.get("locale", "en"))
    error = row._mapping[job.c.error]
    return {
        "erased": True,
        "origin": asdict(anonymous),
        "options": {},
        "images": [],
        "parent": None,
        "batch": None,
        "result": None if row.result is None else from_result(Result()),
        "error": None if error is None else asdict(JobError(code=error["code"], message="")),
    }


def _leave_batch(tx: Connection, row: JobRow) -> list[tuple[str, str]]:
    """A batch goes with the last of its jobs; its sheets, with any of them."""
    batch_id = row._mapping[job.c.batch]
    sheets = leave_batch(tx, batch_id) if batch_id is not None else []
    return disown_if_unused(tx, sheets, row.owner) if sheets else []


def _disown_media(tx: Connection, row: JobRow) -> list[tuple[str, str]]:
    """Disown the job's images that no other job of its owner uses."""
    used = list(tx.scalars(delete(job_media).where(job_media.c.job == row.id).returning(job_media.c.media)))
    if not used:
        return []
    m = media_owner.c
    return _disown(tx, m.media.in_(used) & (m.owner == row.owner) & ~is_used())


def _disown(tx: Connection, condition: ColumnElement[bool]) -> list[tuple[str, str]]:
    """Delete owner rows; returns (id, type) of the images that nobody owns any more."""
    disowned = list(tx.scalars(delete(media_owner).where(condition).returning(media_owner.c.media)))
    return delete_ownerless(tx, disowned)


def begin_forgetting(tx: Connection, person_id: str, *, with_linked: bool = True) -> None:
    """Stop accepting requests of the person; their accounts will create a new person. The server stays locked.

    Raises: LinkRefused: there are several accounts, and `with_linked` is false; NotFound: the person's accounts were
        linked to another person meanwhile, who has to ask for it again.
    """
    if tx.scalar(select(person.c.merged_into).where(person.c.id == person_id)):
        raise NotFound("person", "")
    accounts = tx.scalar(select(func.count()).select_from(account).where(account.c.person == person_id)) or 0
    if accounts > 1 and not with_linked:
        raise LinkRefused("several_accounts")
    was_locked = people.is_locked(tx)
    remember_block(tx, person_id)
    tx.execute(update(person).where(person.c.id == person_id).values(forgotten=True, name=FORGOTTEN_NAME))
    of_person = select(api_key.c.prefix).where(api_key.c.person == person_id)
    tx.execute(delete(session).where(session.c.key.in_(of_person)))
    of_person_batches = batch_sheet.c.batch.in_(select(batch.c.id).where(batch.c.owner == person_id))
    tx.execute(delete(batch_sheet).where(of_person_batches))
    tx.execute(delete(batch).where(batch.c.owner == person_id))
    _clear_private_rules(tx, person_id)
    collections = select(collection.c.id).where(collection.c.person == person_id)
    tx.execute(delete(collection_item).where(collection_item.c.collection.in_(collections)))
    forget_corrections(tx, person_id)  # also what `consent` says
    about_links = (link_code, link_event, carried_usage)
    for table in (account, api_key, person_setting, favourite, collection, report, refusal, *about_links):
        tx.execute(delete(table).where(table.c.person == person_id))
    if was_locked:
        people.lock(tx)


def _clear_private_rules(tx: Connection, person_id: str) -> None:
    """Of the person's private chats: what is left with rules of its own is a group's, and stays."""
    accounts = tx.execute(select(account).where(account.c.person == person_id)).all()
    chats = [f"{row.platform}:{prefix}{row.account_id}" for row in accounts for prefix in ("", "dm:")]
    tx.execute(update(space).where(space.c.id.in_(chats)).values(policy=None, edit_others=None))


def unerased_jobs(tx: Connection, person_id: str, limit: int) -> list[JobRow]:
    unerased = (
        select(job).where(job.c.owner == person_id, job.c.erased.is_(False)).order_by(job.c.seq.desc()).limit(limit)
    )
    return list(tx.execute(unerased))


def disown_uploads(tx: Connection, person_id: str, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Disown some images that no job uses; returns their number, and (id, type) of those that nobody owns any more."""
    m = media_owner.c
    chosen = list(tx.scalars(select(m.media).where(m.owner == person_id).limit(limit)))
    return len(chosen), _disown(tx, m.media.in_(chosen) & (m.owner == person_id))


def private_spaces(tx: Connection, person_id: str) -> list[str]:
    """Spaces without other persons, which are renamed: a private chat's id identifies its person."""
    spaces = (
        select(person_share.c.space)
        .where(person_share.c.person == person_id, person_share.c.space.not_like(f"%:{FORGOTTEN_SPACE}%"))
        .except_(select(person_share.c.space).where(person_share.c.person != person_id))
    )
    return list(tx.scalars(spaces))


def add_anonymous_space(tx: Connection, old_id: str) -> str:
    platform = tx.scalars(select(space.c.platform).where(space.c.id == old_id)).one()
    new_id = f"{platform}:{FORGOTTEN_SPACE}{secrets.token_hex(8)}"
    tx.execute(insert(space), {"id": new_id, "platform": platform, "created_at": utcnow()})
    return new_id


def move_ended_jobs(tx: Connection, person_id: str, old_id: str, new_id: str, limit: int) -> int:
    """Move some ended jobs of the only person of a space, which no counter of the space includes."""
    chosen = select(job.c.seq).where(job.c.owner == person_id, job.c.space == old_id, IS_ENDED).limit(limit)
    return tx.execute(update(job).where(job.c.seq.in_(chosen)).values(space=new_id)).rowcount


def replace_space(tx: Connection, person_id: str, old_id: str, new_id: str) -> None:
    """Move what is left, and delete the old space, unless somebody has written there again or it has rules."""
    if old_id not in private_spaces(tx, person_id):
        return
    tx.execute(update(job).where(job.c.owner == person_id, job.c.space == old_id).values(space=new_id))
    for table in (space_share, person_share):
        tx.execute(update(table).where(table.c.space == old_id).values(space=new_id))
    has_rules = space.c.policy.is_not(None) | space.c.edit_others.is_not(None)
    tx.execute(delete(space).where(space.c.id == old_id, ~has_rules))


def unfinished_persons(tx: Connection) -> list[str]:
    """Forgotten persons with data that is not erased: the process ended meanwhile."""
    p = person.c
    has_jobs = exists().where(job.c.owner == p.id, job.c.erased.is_(False))
    has_media = exists().where(media_owner.c.owner == p.id)
    return list(tx.scalars(select(p.id).where(p.forgotten.is_(True), has_jobs | has_media)))
