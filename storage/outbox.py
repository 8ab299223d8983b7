"""Messages that are owed to a chat, each until the platform confirmed it or never will."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Update, and_, bindparam, exists, func, insert, or_, select, update

from bot.jobs import TRANSITIONS, Job, JobState
from bot.ports import Delivery
from storage.database import Database
from storage.mapping import JobRow, to_job
from storage.schema import IS_PENDING, IS_QUEUED, IS_RUNNING, job, message, outbox, utcnow

_placeholder = outbox.alias("placeholder")
_unsent = outbox.alias("unsent")


def announce(tx: Connection, job_id: str, kind: str, now: datetime, *, is_owed: bool = True) -> None:
    """Owe the chat a message, from now on; of an erased job nothing is owed."""
    state = "pending" if is_owed else "undeliverable"
    row = {"job": job_id, "kind": kind, "state": state, "tries": 0, "reason": "", "due_at": now, "created_at": now}
    tx.execute(insert(outbox), row)


class SqlOutbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int = 50, *, besides: Collection[str] = ()) -> list[Delivery]:
        return await self._database.read(lambda tx: _due(tx, limit, besides))

    async def sent(self, delivery: Delivery, message_ref: str) -> None:
        await self._database.write(lambda tx: _sent(tx, delivery, message_ref))

    async def retry(self, delivery: Delivery, *, delay_s: float, reason: str, is_try: bool = True) -> None:
        due_at = utcnow() + timedelta(seconds=delay_s)
        later = _of(delivery).values(tries=outbox.c.tries + is_try, due_at=due_at, reason=reason)
        await self._database.write(lambda tx: tx.execute(later).rowcount)

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        await self._database.write(
            lambda tx: tx.execute(_of(delivery).values(state="undeliverable", reason=reason)).rowcount
        )

    async def is_owed(self, delivery: Delivery) -> bool:
        pending = select(outbox.c.id).where(outbox.c.id == delivery.id, IS_PENDING)
        return await self._database.read(lambda tx: tx.scalar(pending) is not None)

    async def next_due_s(self) -> float | None:
        due_at = await self._database.read(lambda tx: tx.scalar(_NEXT_DUE))
        return None if due_at is None else max(0.0, (due_at - utcnow()).total_seconds())

    async def note(self, job_id: str, platform: str, message_ref: str) -> None:
        await self._database.write(lambda tx: _note(tx, job_id, platform, message_ref))

    async def job_of(self, platform: str, message_ref: str) -> Job | None:
        is_it = (message.c.platform == platform, message.c.ref == message_ref, job.c.erased.is_(False))
        query = select(job).join(message, message.c.job == job.c.id).where(*is_it)
        row = await self._database.read(lambda tx: tx.execute(query).one_or_none())
        return None if row is None else to_job(row)

    async def messages_of(self, job_id: str, platform: str) -> list[str]:
        query = select(message.c.ref).where(message.c.job == job_id, message.c.platform == platform)
        return await self._database.read(lambda tx: list(tx.scalars(query)))

    async def followed(self) -> list[Delivery]:
        return await self._database.read(_followed)


def _of(delivery: Delivery) -> Update:
    return update(outbox).where(outbox.c.id == delivery.id, IS_PENDING)


def _is_its_turn() -> ColumnElement[bool]:
    """A result waits while its placeholder is still on its way."""
    waits = exists().where(_unsent.c.job == outbox.c.job, _unsent.c.kind == "placeholder", _unsent.c.state == "pending")
    return or_(outbox.c.kind == "placeholder", ~waits)


_TURNS = (
    select(outbox.c.id, outbox.c.job)
    .where(IS_PENDING, outbox.c.due_at <= bindparam("now"), _is_its_turn())
    .order_by(outbox.c.due_at, outbox.c.id)
    .limit(bindparam("most"))
)
_NEXT_DUE = select(func.min(outbox.c.due_at)).where(IS_PENDING, _is_its_turn())
_DELIVERIES = (
    select(job, outbox.c.id.label("delivery"), outbox.c.kind, outbox.c.tries, _placeholder.c.message_ref)
    .select_from(outbox)
    .join(job, job.c.id == outbox.c.job)
    .outerjoin(_placeholder, and_(_placeholder.c.job == outbox.c.job, _placeholder.c.kind == "placeholder"))
    .where(outbox.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(outbox.c.due_at, outbox.c.id)
)


def _due(tx: Connection, limit: int, besides: Collection[str]) -> list[Delivery]:
    """A job has at most two, so what is left out cannot hide the others."""
    found = tx.execute(_TURNS, {"now": utcnow(), "most": limit + 2 * len(besides)})
    ids = [row.id for row in found if row.job not in besides][:limit]
    return [_to_delivery(row) for row in tx.execute(_DELIVERIES, {"ids": ids})] if ids else []


def _to_delivery(row: JobRow) -> Delivery:
    return Delivery(id=row.delivery, job=to_job(row), kind=row.kind, tries=row.tries, message_ref=row.message_ref)


def _sent(tx: Connection, delivery: Delivery, message_ref: str) -> None:
    confirmed = tx.execute(_of(delivery).values(state="sent", message_ref=message_ref)).rowcount
    if confirmed:
        _note(tx, delivery.job.id, delivery.job.origin.platform, message_ref)
    if confirmed and delivery.kind == "result":
        before = [state for state, after in TRANSITIONS.items() if JobState.DELIVERED in after]
        tx.execute(
            update(job)
            .where(job.c.id == delivery.job.id, job.c.state.in_(before))
            .values(state=JobState.DELIVERED, version=job.c.version + 1)
        )


def _followed(tx: Connection) -> list[Delivery]:
    o = outbox.c
    is_shown = (o.kind == "placeholder") & (o.state == "sent") & (job.c.wants_delivery.is_(True))
    rows = tx.execute(
        select(job, o.id.label("delivery"), o.kind, o.tries, o.message_ref)
        .join(outbox, o.job == job.c.id)
        .where(or_(IS_QUEUED, IS_RUNNING), is_shown)
        .order_by(job.c.seq)
    )
    return [_to_delivery(row) for row in rows]


def _note(tx: Connection, job_id: str, platform: str, message_ref: str) -> None:
    """Of a message that is edited into another job's, the last counts."""
    is_it = (message.c.platform == platform, message.c.ref == message_ref)
    if not tx.execute(update(message).where(*is_it).values(job=job_id)).rowcount:
        tx.execute(insert(message), {"platform": platform, "ref": message_ref, "job": job_id})
