"""The outbox: messages to deliver to chats, pending until they are confirmed or given up."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from bot.jobs import TRANSITIONS, Job, JobState
from bot.ports import WEBHOOK, Delivery
from storage.changes import announce_change
from storage.database import Database
from storage.grid_messages import has_open_cells, waits_for_cells
from storage.mapping import JobRow, next_version, to_job
from storage.measuring import count_after_commit
from storage.retractions import drop_old_retraction, retract_if_erased, settle_retraction
from storage.schema import IS_PENDING, IS_QUEUED, IS_RUNNING, job, message, outbox, utcnow

_placeholder = outbox.alias("placeholder")
_unsent = outbox.alias("unsent")


def enqueue_message(
    tx: Connection, job_id: str, kind: str, now: datetime, *, target: str = "", is_deliverable: bool = True
) -> None:
    """Enqueue a message; that of an erased job is never delivered (`is_deliverable` False)."""
    state = "pending" if is_deliverable else "undeliverable"
    row = {"job": job_id, "kind": kind, "target": target, "state": state, "tries": 0, "reason": ""}
    tx.execute(insert(outbox), {**row, "due_at": now, "created_at": now})


class SqlOutbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def due_deliveries(
        self, limit: int = 50, *, excluded_jobs: Collection[str] = (), excluded_webhooks: Collection[str] = ()
    ) -> list[Delivery]:
        return await self._database.run_read(lambda tx: _due(tx, limit, excluded_jobs, excluded_webhooks))

    async def mark_sent(self, delivery: Delivery, message_ref: str) -> None:
        await self._database.run_write(lambda tx: _mark_sent(tx, delivery, message_ref))

    async def schedule_retry(self, delivery: Delivery, *, delay_s: float, reason: str, is_try: bool = True) -> None:
        due_at = utcnow() + timedelta(seconds=delay_s)
        later = _update_pending(delivery).values(tries=outbox.c.tries + int(is_try), due_at=due_at, reason=reason)
        outcome = "retried" if is_try else "postponed"
        await self._database.run_write(lambda tx: _schedule(tx, delivery, later, outcome))

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        given_up = _update_pending(delivery).values(state="undeliverable", reason=reason)
        await self._database.run_write(lambda tx: _schedule(tx, delivery, given_up, "undeliverable"))

    async def give_up_events(self, delivery: Delivery, *, before: datetime, reason: str) -> None:
        await self._database.run_write(lambda tx: _give_up_events(tx, delivery, before, reason))

    async def settle_retraction(self, delivery: Delivery, settled: Collection[str]) -> None:
        await self._database.run_deletion(lambda tx: settle_retraction(tx, delivery.id, settled))

    async def deliver_again(self, job_id: str) -> None:
        unsent = update(outbox).where(outbox.c.job == job_id, outbox.c.kind == "result", outbox.c.state != "sent")
        again = unsent.where(exists().where(job.c.id == job_id, job.c.erased.is_(False)))
        now = utcnow()
        await self._database.run_write(
            lambda tx: tx.execute(again.values(state="pending", tries=0, due_at=now)).rowcount
        )

    async def is_pending(self, delivery: Delivery) -> bool:
        pending = select(outbox.c.id).where(outbox.c.id == delivery.id, IS_PENDING)
        return await self._database.run_read(lambda tx: tx.scalar(pending) is not None)

    async def next_due_s(self, *, excluded_webhooks: Collection[str] = ()) -> float | None:
        excluded = {"webhooks": list(excluded_webhooks)}
        due_at = await self._database.run_read(lambda tx: tx.scalar(_NEXT_DUE, excluded))
        return None if due_at is None else max(0.0, (due_at - utcnow()).total_seconds())

    async def remember_message(self, job_id: str, platform: str, message_ref: str, *, picture: int = 0) -> None:
        await self._database.run_write(lambda tx: _remember_message(tx, job_id, platform, message_ref, picture))

    async def find_picture(self, platform: str, message_ref: str) -> int:
        query = select(message.c.picture).where(message.c.platform == platform, message.c.ref == message_ref)
        return await self._database.run_read(lambda tx: tx.scalar(query) or 0)

    async def find_job(self, platform: str, message_ref: str) -> Job | None:
        has_ref = (message.c.platform == platform, message.c.ref == message_ref, job.c.erased.is_(False))
        query = select(job).join(message, message.c.job == job.c.id).where(*has_ref)
        row = await self._database.run_read(lambda tx: tx.execute(query).one_or_none())
        return None if row is None else to_job(row)

    async def message_refs(self, job_id: str, platform: str, *, picture: int = 0) -> list[str]:
        query = select(message.c.ref).where(message.c.job == job_id, message.c.platform == platform)
        if picture:
            query = query.where(message.c.picture == picture)
        return await self._database.run_read(lambda tx: list(tx.scalars(query)))

    async def retry_space(self, platform: str, space_id: str) -> int:
        in_space = select(job.c.id).where(job.c.id == outbox.c.job, job.c.space == f"{platform}:{space_id}")
        due = update(outbox).where(IS_PENDING, in_space.exists()).values(due_at=utcnow())
        return await self._database.run_write(lambda tx: tx.execute(due).rowcount)

    async def watched(self) -> list[Delivery]:
        return await self._database.run_read(_watched)


def _schedule(tx: Connection, delivery: Delivery, later: Update, outcome: str) -> None:
    if tx.execute(later).rowcount:
        count_after_commit(tx, lambda metrics: metrics.count_delivery(delivery, outcome))
    if delivery.kind == "retract":
        drop_old_retraction(tx, delivery.id)


def _give_up_events(tx: Connection, delivery: Delivery, before: datetime, reason: str) -> None:
    """An event is created when its job ends."""
    of_webhook = (outbox.c.kind == WEBHOOK, outbox.c.target == delivery.target, outbox.c.created_at < before)
    given_up = update(outbox).where(IS_PENDING, *of_webhook).values(state="undeliverable", reason=reason)
    for _ in range(tx.execute(given_up).rowcount):
        count_after_commit(tx, lambda metrics: metrics.count_delivery(delivery, "undeliverable"))


def _update_pending(delivery: Delivery) -> Update:
    return update(outbox).where(outbox.c.id == delivery.id, IS_PENDING)


def _is_deliverable() -> ColumnElement[bool]:
    """A result waits while its placeholder is still pending, and that of a grid for all of its cells."""
    has_pending_placeholder = exists().where(
        _unsent.c.job == outbox.c.job, _unsent.c.kind == "placeholder", _unsent.c.state == "pending"
    )
    return or_(outbox.c.kind != "result", ~has_pending_placeholder & ~waits_for_cells())


ROWS_OF_A_JOB = 5
"""At most: the placeholder, the result, its webhook, and what is retracted from each platform."""
_MAY_BE_SENT = or_(outbox.c.kind != WEBHOOK, outbox.c.target.not_in(bindparam("webhooks", expanding=True)))
_DUE = (
    select(outbox.c.id, outbox.c.job)
    .where(IS_PENDING, outbox.c.due_at <= bindparam("now"), _MAY_BE_SENT, _is_deliverable())
    .order_by(outbox.c.due_at, outbox.c.id)
    .limit(bindparam("most"))
)
_NEXT_DUE = select(func.min(outbox.c.due_at)).where(IS_PENDING, _MAY_BE_SENT, _is_deliverable())
_DELIVERIES = (
    select(
        job,
        outbox.c.id.label("delivery"),
        outbox.c.kind,
        outbox.c.tries,
        outbox.c.target,
        outbox.c.refs,
        func.coalesce(outbox.c.message_ref, _placeholder.c.message_ref).label("message_ref"),
        outbox.c.message_ref.is_not(None).label("is_update"),
    )
    .select_from(outbox)
    .join(job, job.c.id == outbox.c.job)
    .outerjoin(_placeholder, and_(_placeholder.c.job == outbox.c.job, _placeholder.c.kind == "placeholder"))
    .where(outbox.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(outbox.c.due_at, outbox.c.id)
)


def _due(
    tx: Connection, limit: int, excluded_jobs: Collection[str], excluded_webhooks: Collection[str]
) -> list[Delivery]:
    """The rows of excluded jobs cannot use up the limit."""
    most = limit + ROWS_OF_A_JOB * len(excluded_jobs)
    rows = tx.execute(_DUE, {"now": utcnow(), "most": most, "webhooks": list(excluded_webhooks)})
    ids = [row.id for row in rows if row.job not in excluded_jobs][:limit]
    return [_to_delivery(row) for row in tx.execute(_DELIVERIES, {"ids": ids})] if ids else []


def _to_delivery(row: JobRow) -> Delivery:
    return Delivery(
        id=row.delivery,
        job=to_job(row),
        kind=row.kind,
        tries=row.tries,
        message_ref=row.message_ref,
        is_update=bool(row._mapping.get("is_update", False)),
        target=row._mapping.get("target", ""),
        refs=tuple(row._mapping.get("refs") or ()),
    )


def _mark_sent(tx: Connection, delivery: Delivery, message_ref: str) -> None:
    """A result that changed while it was being sent, because a picture was deleted, is due again."""
    job_id = tx.scalar(select(outbox.c.job).where(outbox.c.id == delivery.id)) or delivery.job.id
    is_same = job_id == delivery.job.id  # the message of a grid may have been handed over
    is_stale = delivery.kind == "result" and not (is_same and _version_of(tx, job_id) == delivery.job.version)
    state = "pending" if is_stale else "sent"
    confirmed = tx.execute(_update_pending(delivery).values(state=state, message_ref=message_ref or None)).rowcount
    if confirmed:
        count_after_commit(tx, lambda metrics: metrics.count_delivery(delivery, "sent"))
    if delivery.kind == WEBHOOK:  # what it received is no message
        return
    if confirmed:
        _remember_message(tx, job_id, delivery.job.origin.platform, message_ref)
    else:
        retract_if_erased(tx, delivery.job.id, delivery.job.origin.platform, message_ref)
    if confirmed and delivery.kind == "result" and not is_stale:
        before = [state for state, after in TRANSITIONS.items() if JobState.DELIVERED in after]
        tx.execute(
            update(job)
            .where(job.c.id == delivery.job.id, job.c.state.in_(before))
            .values(state=JobState.DELIVERED, **next_version())
        )
        announce_change(tx, delivery.job.owner)


def _version_of(tx: Connection, job_id: str) -> int | None:
    return tx.scalar(select(job.c.version).where(job.c.id == job_id))


def _watched(tx: Connection) -> list[Delivery]:
    o = outbox.c
    is_shown = (o.kind == "placeholder") & (o.state == "sent") & (job.c.wants_delivery.is_(True))
    rows = tx.execute(
        select(job, o.id.label("delivery"), o.kind, o.tries, o.message_ref)
        .join(outbox, o.job == job.c.id)
        .where(or_(IS_QUEUED, IS_RUNNING, has_open_cells(job.c.batch)), is_shown)
        .order_by(job.c.seq)
    )
    return [_to_delivery(row) for row in rows]


def _remember_message(tx: Connection, job_id: str, platform: str, message_ref: str, picture: int = 0) -> None:
    """If a message is edited to show another job, it belongs to the last one. One of an erased job is deleted."""
    if retract_if_erased(tx, job_id, platform, message_ref):
        return
    has_ref = (message.c.platform == platform, message.c.ref == message_ref)
    shown = {"job": job_id, "picture": picture or None}
    if not tx.execute(update(message).where(*has_ref).values(shown)).rowcount:
        tx.execute(insert(message), {"platform": platform, "ref": message_ref, **shown})
