"""Jobs and keys as JSON, the same as the web adapter's (a test compares them): scripts see one shape everywhere."""

from typing import Any

from bot.errors import JobCancelled
from bot.jobs import Job, JobState
from bot.ports import ApiKey
from bot.texts import explain
from bot.usecases import Ticket

JobBody = dict[str, Any]
"""The body of `GET /jobs/{id}`."""

FINAL = frozenset(state.value for state in JobState if state.is_final)
DONE = frozenset({JobState.RENDERED.value, JobState.DELIVERED.value})


def job_body(ticket: Ticket) -> JobBody:
    job, progress = ticket.job, ticket.progress
    return {
        "id": job.id,
        "command": job.command,
        "options": dict(job.options),
        "images": [{"id": image.id, "role": image.role} for image in job.images],
        "state": job.state.value,
        "position": ticket.position,
        "eta_s": ticket.eta_s,
        "progress": {"step": progress.step, "steps": progress.steps} if progress else None,
        "result": _result(job),
        "error": _error(job),
        "cost": job.cost,
        "parent": job.parent,
        "batch": job.batch,
        "cancel_requested": job.cancel_requested,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def _result(job: Job) -> dict[str, Any] | None:
    result = job.result
    if result is None:
        return None
    media = [
        {
            "id": picture.id,
            "url": f"/api/v1/media/{picture.id}",
            "media_type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "alt": picture.alt,
        }
        for picture in result.media
    ]
    plain = ("text", "seed", "model", "revision", "seconds", "parameters")
    return {"media": media, **{name: getattr(result, name) for name in plain}, "notes": list(result.notes)}


def _error(job: Job) -> dict[str, Any] | None:
    if job.error is not None:
        return {"code": job.error.code, "message": job.error.message, "incident": job.error.incident or None}
    if job.state is JobState.CANCELLED:
        return {"code": "cancelled", "message": explain(JobCancelled()), "incident": None}
    return None


def key_body(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "person": key.person.name,
        "admin": key.is_admin,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }
