"""JSON bodies of the admin routes. A job's prompt appears only where the core allows admins to read it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.web.views import format_time
from bot.error_texts import BLOCKED, explain
from bot.errors import Blocked
from bot.jobs import Job
from bot.ports import ApiKey, BlockedRequest, DeviceStatus, Person, PersonSummary, ReportedJob
from bot.prompts.resolver import original_prompt
from bot.usecases.reports import reported_pictures
from bot.usecases.server_admin import QueuedJob

REPORTS_URL = "/api/v1/admin/reports/"


def person_json(person: Person) -> dict[str, str]:
    return {"id": person.id, "name": person.name}


def key_json(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "person": person_json(key.person),
        "admin": key.is_admin,
        "created_at": format_time(key.created_at),
        "last_used_at": format_time(key.last_used_at),
        "revoked_at": format_time(key.revoked_at),
    }


def summary_json(summary: PersonSummary, limit: float | None) -> dict[str, Any]:
    """`limit`: the effective quota; `own_limit`: the one set for this person."""
    return {
        **person_json(summary.person),
        "local": summary.person.is_local,
        "blocked": summary.person.is_blocked,
        "accounts": [{"platform": platform, "account": account} for platform, account in summary.accounts],
        "keys": [key_json(key) for key in summary.keys],
        "jobs": summary.jobs,
        "used": summary.used,
        "limit": limit,
        "own_limit": summary.person.daily_s,
        "created_at": format_time(summary.created_at),
        "last_seen": format_time(summary.last_seen),
    }


def queued_json(queued: QueuedJob) -> dict[str, Any]:
    ticket, job = queued.ticket, queued.ticket.job
    progress = ticket.progress
    return {
        **_job_json(job, queued.owner),
        "state": job.state.value,
        "position": ticket.position,
        "eta_s": ticket.eta_s,
        "waits_s": _waits_s(job),
        "device": queued.device or None,
        "progress": progress and {"phase": progress.phase, "step": progress.step, "steps": progress.steps},
        "cancel_requested": job.cancel_requested,
        "prompt": _words_of(job) if queued.has_words else None,
    }


def _waits_s(job: Job) -> float:
    """How long it has waited, or waited until it started."""
    return round(max(0.0, ((job.started_at or datetime.now(UTC)) - job.created_at).total_seconds()), 1)


def _job_json(job: Job, owner: Person) -> dict[str, Any]:
    return {
        "id": job.id,
        "person": person_json(owner),
        "platform": job.origin.platform,
        "command": job.command,
        "model": job.model,
        "created_at": format_time(job.created_at),
        "started_at": format_time(job.started_at),
        "finished_at": format_time(job.finished_at),
    }


def _words_of(job: Job) -> str:
    options = original_prompt(job.options)
    return str(options.get("prompt") or options.get("question") or options.get("texts") or "")


def report_json(report: ReportedJob) -> dict[str, Any]:
    """With prompt and pictures only while the report is open."""
    job = report.job
    is_open = report.closed_at is None
    return {
        "id": report.id,
        "job": _job_json(job, report.owner),
        "picture": report.picture,
        "reason": report.reason,
        "reporter": person_json(report.reporter),
        "created_at": format_time(report.created_at),
        "closed_at": format_time(report.closed_at),
        "outcome": report.outcome,
        "prompt": _words_of(job) if is_open else None,
        "text": job.result.text if is_open and job.result is not None else None,
        "pictures": [
            {
                "n": image.number,
                "url": f"{REPORTS_URL}{report.id}/pictures/{image.number}",
                "width": image.width,
                "height": image.height,
                "alt": image.alt,
                "spoiler": image.is_spoiler,
            }
            for image in reported_pictures(report)
        ],
    }


def failure_json(job: Job, owner: Person) -> dict[str, Any]:
    """A blocked or failed job, without its prompt."""
    error = job.error
    return {
        **_job_json(job, owner),
        "code": error.code if error else "",
        "message": error.message if error else "",
        "incident": (error.incident if error else "") or None,
    }


def blocked_json(one: BlockedRequest) -> dict[str, Any]:
    """`reason` names the rule of a request that was not accepted, which has no id."""
    if one.job is not None:
        return {**failure_json(one.job, one.person), "reason": None}
    at = format_time(one.at)
    return {
        "id": None,
        "person": person_json(one.person),
        "platform": one.platform,
        "command": one.command,
        "model": "",
        "created_at": at,
        "started_at": None,
        "finished_at": at,
        "code": Blocked.code,
        "reason": one.reason,
        "incident": None,
        "message": explain(Blocked(one.reason, detail="NAME")) if one.reason in BLOCKED else "",
    }


def device_json(status: DeviceStatus, total_mb: int) -> dict[str, Any]:
    lost_at = datetime.fromtimestamp(status.lost_at, UTC) if status.lost_at is not None else None
    return {
        "device": status.device,
        "state": status.state,
        "memory_used_mb": status.memory_mb,
        "memory_total_mb": total_mb or None,
        "loaded": list(status.loaded),
        "loading": status.loading or None,
        "running": status.running,
        "slots": status.slots,
        "backends": list(status.backends),
        "restarts": status.restarts,
        "lost_at": format_time(lost_at),
        "lost_reason": status.lost_reason or None,
    }


def samples_json(samples: Mapping[datetime, Mapping[str, float]]) -> dict[str, Any]:
    """A list of minutes, and for each metric a list of the same length; null: no value in that minute."""
    minutes: Sequence[datetime] = list(samples)
    names = sorted({name for values in samples.values() for name in values})
    series = {name: [samples[minute].get(name) for minute in minutes] for name in names}
    return {"step_s": 60, "minutes": [format_time(minute) for minute in minutes], "series": series}
