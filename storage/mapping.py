"""Maps rows to core types and back."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from bot.jobs import ImageRef, Job, JobError, JobState, Origin, Result, StoredImage, TextUsage
from bot.ports import NewJob
from storage.schema import job

JobRow = Row[Any, Any]
"""Columns are accessed by name, not by position."""

_of_owner = job.alias("of_owner")
_LAST_CHANGE = (
    select(func.coalesce(func.max(_of_owner.c.changed), 0))
    .where(_of_owner.c.owner == job.c.owner)
    .correlate(job)
    .scalar_subquery()
)

_PLAIN = (
    "id", "owner", "command", "options", "task", "model", "attempt", "crashes", "failures",
    "interruptions", "cost", "parent", "batch", "version", "cancel_requested", "created_at",
    "started_at", "finished_at",
)  # fmt: skip


def to_job(row: JobRow) -> Job:
    """A row with at least the columns of `job`."""
    fields = row._mapping
    return Job(
        **{name: fields[job.c[name]] for name in _PLAIN},
        origin=Origin(**fields[job.c.origin]),
        images=tuple(ImageRef(**image) for image in fields[job.c.images]),
        state=JobState(fields[job.c.state]),
        result=to_result(fields[job.c.result]),
        error=None if fields[job.c.error] is None else JobError(**fields[job.c.error]),
    )


def next_version() -> dict[str, ColumnElement[int]]:
    """What every update of a job sets: its own version, and its place among the changes of its owner's jobs.

    The owner is announced in the same transaction (`storage.changes.announce_change`).
    """
    return {"version": job.c.version + 1, **next_change()}


def next_change() -> dict[str, ColumnElement[int]]:
    """What is set where something beside the job changed that is shown with it: its pictures' favourites, say."""
    return {"changed": _LAST_CHANGE + 1}


def last_change(tx: Connection, owner: str) -> int:
    """The number of the newest change of the owner's jobs; 0: there are none."""
    return tx.scalar(select(func.max(job.c.changed)).where(job.c.owner == owner)) or 0


def to_result(stored: Mapping[str, Any] | None) -> Result | None:
    if stored is None:
        return None
    pictures = tuple(StoredImage(**picture) for picture in stored["media"])
    usage = TextUsage(**stored["usage"]) if stored.get("usage") else None
    return Result(**{**stored, "media": pictures, "notes": tuple(stored["notes"]), "usage": usage})


def from_result(result: Result) -> dict[str, Any]:
    return asdict(result)


def space_key(origin: Origin) -> str:
    """The space's key; includes the platform, as two platforms may use the same ids."""
    return f"{origin.platform}:{origin.space_id}"


def to_row(new: NewJob, seq: int, changed: int, now: datetime) -> dict[str, Any]:
    return {
        "seq": seq,
        "id": new.id,
        "owner": new.owner,
        "space": space_key(new.origin),
        "origin": asdict(new.origin),
        "command": new.command,
        "options": dict(new.options),
        "images": [asdict(image) for image in new.images],
        "task": new.task,
        "model": new.model,
        "state": JobState.QUEUED,
        "attempt": 0,
        "crashes": 0,
        "failures": 0,
        "interruptions": 0,
        "cost": new.cost,
        "estimate_s": new.estimate_s,
        "parent": new.parent,
        "batch": new.batch,
        "version": 1,
        "changed": changed,
        "cancel_requested": False,
        "wants_delivery": new.wants_delivery,
        "alone": False,
        "place": seq,
        "created_at": now,
        "queued_at": now,
    }
