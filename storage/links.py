"""One-time codes, and the accounts that they link: `bot.ports.Links` on the database."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from bot.errors import NotFound
from bot.jobs import JobState
from bot.ports import LinkedAccount, LinkResult, LinkSide
from bot.problem_texts.link_problems import LinkRefused
from storage import audit
from storage.carried_usage import read_usage
from storage.database import Database
from storage.link_tables import link_code, link_event
from storage.mapping import JobRow, last_change
from storage.merge import merge_persons
from storage.people import LOCAL_ACCOUNT, NAMED_PLATFORM, refuse_forgotten
from storage.schema import IS_PENDING, IS_QUEUED, IS_RUNNING, account, job, media_owner, outbox, person, utcnow
from storage.unlink import unlink_accounts

CODES_KEPT = timedelta(days=1)
"""For which a used or expired code is still told from a wrong one."""


class SqlLinks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_code(self, person_id: str, code_hash: str, expires_at: datetime) -> None:
        await self._database.run_write(lambda tx: _add_code(tx, person_id, code_hash, expires_at))

    async def revoke_code(self, code_hash: str) -> None:
        unused = delete(link_code).where(link_code.c.code_hash == code_hash, link_code.c.used_at.is_(None))
        await self._database.run_write(lambda tx: tx.execute(unused).rowcount)

    async def preview(self, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
        return await self._database.run_read(lambda tx: _plan(tx, person_id, code_hash, default_s))

    async def link(self, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
        return await self._database.run_write(lambda tx: self._link(tx, person_id, code_hash, default_s))

    def _link(self, tx: Connection, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
        planned = _plan(tx, person_id, code_hash, default_s)
        tx.execute(update(link_code).where(link_code.c.code_hash == code_hash).values(used_at=utcnow()))
        _set_limit(tx, planned)
        merge_persons(tx, self._database.dialect, kept=planned.kept, emptied=planned.emptied)
        tx.execute(delete(link_code).where(link_code.c.person == planned.kept, link_code.c.used_at.is_(None)))
        _record(tx, planned)
        if problems := audit.find_problems_of(tx, planned.kept):
            raise RuntimeError(f"the accounts of {planned.kept} do not add up: {problems[0]}")
        return planned

    async def list_accounts(self, person_id: str) -> list[LinkedAccount]:
        return await self._database.run_read(lambda tx: list_accounts(tx, current_person(tx, person_id).id))

    async def unlink(
        self, person_id: str, platform: str, account_id: str | None, default_s: float | None
    ) -> Sequence[LinkedAccount]:
        def remove(tx: Connection) -> Sequence[LinkedAccount]:
            current = current_person(tx, person_id)
            own = list_accounts(tx, current.id)
            gone = [
                one for one in own if one.is_chat and one.platform == platform and account_id in (None, one.account_id)
            ]
            if not gone:
                raise LinkRefused("not_linked")
            if len(gone) == len(own):
                raise LinkRefused("only_account")
            unlink_accounts(tx, current, gone, default_s)
            return gone

        return await self._database.run_write(remove)


def current_person(tx: Connection, person_id: str) -> JobRow:
    """The person, or the one that its accounts were linked to meanwhile. Raises: NotFound: they were forgotten."""
    row = tx.execute(select(person).where(person.c.id == person_id)).one_or_none()
    if row is not None and row.merged_into is not None:
        row = tx.execute(select(person).where(person.c.id == row.merged_into)).one_or_none()
    if row is None or row.forgotten:
        raise NotFound("person", "")
    return row


def list_accounts(tx: Connection, person_id: str) -> list[LinkedAccount]:
    a = account.c
    name = func.coalesce(a.name, person.c.name).label("shown")
    query = select(a.platform, a.account_id, name).join(person, person.c.id == a.person)
    own = [
        LinkedAccount(platform=_shown_platform(row.platform), account_id=row.account_id, name=row.shown)
        for row in tx.execute(query.where(a.person == person_id))
    ]
    return sorted(own, key=lambda one: (one.platform, one.name, one.account_id))


def _shown_platform(platform: str) -> str:
    return {NAMED_PLATFORM: "web", LOCAL_ACCOUNT[0]: "local"}.get(platform, platform)


def _add_code(tx: Connection, person_id: str, code_hash: str, expires_at: datetime) -> None:
    refuse_forgotten(tx, person_id)
    c, now = link_code.c, utcnow()
    tx.execute(delete(link_code).where((c.person == person_id) & c.used_at.is_(None)))
    tx.execute(delete(link_code).where(c.expires_at < now - CODES_KEPT))
    tx.execute(insert(link_code), {"code_hash": code_hash, "person": person_id, "expires_at": expires_at})


def _plan(tx: Connection, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
    """Raises: LinkRefused."""
    own = current_person(tx, person_id)
    code = tx.execute(select(link_code).where(link_code.c.code_hash == code_hash)).one_or_none()
    if code is None:
        raise LinkRefused("wrong_code")
    if code.person == own.id:
        raise LinkRefused("own_code" if code.used_at is None else "linked")
    if code.used_at is not None:
        raise LinkRefused("used_code")
    if code.expires_at <= utcnow():
        raise LinkRefused("expired_code")
    other = current_person(tx, code.person)
    _check_state(tx, own, other)
    sides = [_describe_side(tx, row, default_s) for row in (own, other)]
    kept, emptied = sorted((own, other), key=lambda row: _rank(tx, row), reverse=True)
    return LinkResult(own=sides[0], other=sides[1], kept=kept.id, emptied=emptied.id)


def _check_state(tx: Connection, *rows: JobRow) -> None:
    """Nothing may be under way, and no admin may have blocked one or set a quota of 0. Raises: LinkRefused."""
    ids = [row.id for row in rows]
    if any(row.blocked_at is not None for row in rows):
        raise LinkRefused("blocked")
    if any(row.daily_s == 0 for row in rows):
        raise LinkRefused("no_quota")
    if tx.scalar(select(exists().where(job.c.owner.in_(ids), IS_QUEUED | IS_RUNNING))):
        raise LinkRefused("open_jobs")
    owned = job.c.owner.in_(ids) & (job.c.id == outbox.c.job)
    # What is only deleted, edited or sent to a webhook needs no owner, and may wait long for what is off.
    is_first = outbox.c.kind.not_in(("retract", "webhook")) & (job.c.state != JobState.DELIVERED)
    if tx.scalar(select(exists().where(IS_PENDING, is_first, owned))):
        raise LinkRefused("deliveries")


def _rank(tx: Connection, row: JobRow) -> tuple[object, ...]:
    """The local person remains, else the one with more to move, else the older one."""
    jobs = tx.scalar(select(func.count()).select_from(job).where(job.c.owner == row.id))
    return (row.is_local, jobs, -row.created_at.timestamp(), row.id)


def _describe_side(tx: Connection, row: JobRow, default_s: float | None) -> LinkSide:
    listed = select(func.count()).select_from(job).where(job.c.owner == row.id, job.c.erased.is_(False))
    pictures = select(func.count()).select_from(media_owner).where(media_owner.c.owner == row.id)
    return LinkSide(
        person_id=row.id,
        accounts=tuple(list_accounts(tx, row.id)),
        jobs=tx.scalar(listed) or 0,
        pictures=tx.scalar(pictures) or 0,
        used=read_usage(tx, row.id, utcnow()).device_s,
        limit=row.daily_s if row.daily_s is not None else None if row.is_local else default_s,
    )


def _set_limit(tx: Connection, merged: LinkResult) -> None:
    """The larger daily quota counts. Only the local person is unlimited beside it, and that one remains."""
    kept, emptied = sorted((merged.own, merged.other), key=lambda side: side.person_id != merged.kept)
    if kept.limit is None or (emptied.limit is not None and emptied.limit <= kept.limit):
        return
    larger = select(person.c.daily_s).where(person.c.id == emptied.person_id).scalar_subquery()
    tx.execute(update(person).where(person.c.id == kept.person_id).values(daily_s=larger))


def _record(tx: Connection, merged: LinkResult) -> None:
    sides = {
        name: {
            "accounts": [one.platform for one in side.accounts],
            "jobs": side.jobs,
            "pictures": side.pictures,
            "used": side.used,
        }
        for name, side in (("own", merged.own), ("other", merged.other))
    }
    details = {**sides, "changes": last_change(tx, merged.kept)}
    event = {"person": merged.kept, "kind": "link", "details": details, "at": utcnow()}
    tx.execute(insert(link_event), event)
