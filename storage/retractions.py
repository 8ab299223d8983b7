"""Outbox rows of kind `retract`: messages to delete after what they show was erased.

A row holds the message references itself, because those in `message` go with the job. It is deleted once they are gone.
"""

from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, update

from storage.columns import utcnow
from storage.mapping import JobRow
from storage.schema import job, message, outbox

KEPT = timedelta(days=31)


def retract_messages(tx: Connection, row: JobRow, picture: int | None = None, *, besides: str = "") -> None:
    """All messages of a job, or those that show only this picture, before their rows are deleted; those of the platform
    `besides` are deleted by its adapter."""
    shown = select(message.c.platform, message.c.ref).where(message.c.job == row.id, message.c.platform != besides)
    if picture is not None:
        shown = shown.where(message.c.picture == picture)
    refs: defaultdict[str, list[str]] = defaultdict(list)
    for found in tx.execute(shown.order_by(message.c.ref)):
        refs[found.platform].append(found.ref)
    for platform, some in refs.items():
        enqueue_retraction(tx, row.id, platform, some)


def enqueue_retraction(tx: Connection, job_id: str, platform: str, refs: Collection[str]) -> None:
    """Have the platform delete these messages, with those that it was asked to before."""
    now = utcnow()
    of_job = (outbox.c.job == job_id, outbox.c.kind == "retract", outbox.c.target == platform)
    waiting = tx.scalar(select(outbox.c.refs).where(*of_job))
    if waiting is not None:
        more = {"refs": list(dict.fromkeys([*waiting, *refs])), "state": "pending", "due_at": now}
        tx.execute(update(outbox).where(*of_job).values(more))
        return
    row = {"job": job_id, "kind": "retract", "target": platform, "refs": list(refs), "due_at": now, "created_at": now}
    tx.execute(insert(outbox), {**row, "state": "pending", "tries": 0, "reason": ""})


def retract_if_erased(tx: Connection, job_id: str, platform: str, message_ref: str) -> bool:
    """A message that was being sent while its job was erased must go, too."""
    if not tx.scalar(select(job.c.erased).where(job.c.id == job_id)):
        return False
    enqueue_retraction(tx, job_id, platform, [message_ref])
    return True


def drop_old_retraction(tx: Connection, delivery_id: int) -> None:
    """References are not kept for ever for a platform that does not come back."""
    is_old = outbox.c.created_at <= utcnow() - KEPT
    tx.execute(delete(outbox).where(outbox.c.id == delivery_id, outbox.c.kind == "retract", is_old))


def settle_retraction(tx: Connection, delivery_id: int, settled: Collection[str]) -> None:
    """These messages are gone, or cannot be deleted; the row goes with the last of them."""
    refs = tx.scalar(select(outbox.c.refs).where(outbox.c.id == delivery_id)) or []
    left = [ref for ref in refs if ref not in settled]
    if left:
        tx.execute(update(outbox).where(outbox.c.id == delivery_id).values(refs=left))
    else:
        tx.execute(delete(outbox).where(outbox.c.id == delivery_id))
