"""What the core knows, as REST's JSON."""

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from bot.commands import COMMANDS, Command
from bot.error_texts import DEMO_HINT, explain
from bot.errors import JobCancelled
from bot.jobs import ImageRef, Job, JobState, Picture
from bot.models import IMAGE_TO_IMAGE, Models, ModelSpec
from bot.ports import Progress
from bot.usecases import Event, Quota, Quote, Ticket

MEDIA_URL = "/api/v1/media/"
JOBS_URL = "/api/v1/jobs/"


def job_json(ticket: Ticket) -> dict[str, Any]:
    """The body of `GET /jobs/{id}`."""
    job = ticket.job
    progress = ticket.progress
    return {
        "id": job.id,
        "command": job.command,
        "options": dict(job.options),
        "images": [{"id": image.id, "role": image.role} for image in job.images],
        "state": job.state.value,
        "position": ticket.position,
        "eta_s": ticket.eta_s,
        "progress": {"step": progress.step, "steps": progress.steps} if progress else None,
        "arrival": {"title": ticket.title, **vars(ticket.arrival)} if ticket.arrival else None,
        "result": _result_json(job),
        "error": error_json(job),
        "cost": job.cost,
        "parent": job.parent,
        "batch": job.batch,
        "cancel_requested": job.cancel_requested,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
    }


def moment(when: datetime | None) -> str | None:
    """As pydantic writes it, so that REST and its events say the same."""
    return when.isoformat().replace("+00:00", "Z") if when else None


def _result_json(job: Job) -> dict[str, Any] | None:
    result = job.result
    if result is None:
        return None
    return {
        "media": [_result_media_json(picture) for picture in result.media],
        "text": result.text,
        "seed": result.seed,
        "model": result.model,
        "revision": result.revision,
        "seconds": result.seconds,
        "parameters": result.parameters,
        "notes": list(result.notes),
    }


def _result_media_json(picture: Picture) -> dict[str, Any]:
    return {
        "id": picture.id,
        "url": f"{MEDIA_URL}{picture.id}",
        "media_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
        "alt": picture.alt,
        "spoiler": picture.is_spoiler,
    }


def error_json(job: Job) -> dict[str, Any] | None:
    """Why there is no result; being cancelled is a reason too."""
    if job.error is not None:
        return {"code": job.error.code, "message": job.error.message, "incident": job.error.incident or None}
    if job.state is JobState.CANCELLED:
        return {"code": "cancelled", "message": explain(JobCancelled()), "incident": None}
    return None


def ticket_json(ticket: Ticket) -> dict[str, Any]:
    job = ticket.job
    return {
        "id": job.id,
        "state": job.state.value,
        "position": ticket.position,
        "eta_s": ticket.eta_s,
        "cost": job.cost,
    }


def accepted_json(tickets: list[Ticket]) -> dict[str, Any]:
    """The first job's fields; for a batch the others beside them."""
    first = ticket_json(tickets[0])
    if tickets[0].job.batch is None:
        return first
    return {**first, "batch": tickets[0].job.batch, "jobs": [ticket_json(ticket) for ticket in tickets]}


def event_json(event: Event) -> Any:
    """The data of one server-sent event."""
    if event.kind == "progress":
        progress = event.ticket.progress
        assert progress is not None
        return {
            "step": progress.step,
            "steps": progress.steps,
            "eta_s": event.ticket.eta_s,
            "preview": _preview(progress),
        }
    return error_json(event.ticket.job) if event.kind == "error" else job_json(event.ticket)


def _preview(progress: Progress) -> str | None:
    if not progress.preview:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(progress.preview).decode('ascii')}"


def quote_json(quote: Quote) -> dict[str, Any]:
    return {"jobs": quote.jobs, "cost": quote.cost, "eta_s": quote.eta_s, "quote": quote.quote}


def quota_json(quota: Quota) -> dict[str, Any]:
    return {
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "unit": "device-seconds",
        "resets_at": moment(quota.resets_at),
    }


def media_json(picture: Picture) -> dict[str, Any]:
    return {
        "id": picture.id,
        "media_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
        "parameters": dict(picture.parameters) if picture.parameters is not None else None,
    }


def command_json(command: type[Command], models: Models, styles: Sequence[str] = ()) -> dict[str, Any]:
    tasks = _tasks_of(command)
    options = [spec.describe() for spec in command.specs]
    for option in options:
        if option["name"] == "style":
            option["choices"] = list(styles)
    return {
        "name": command.name,
        "summary": command.summary,
        "images": {
            "needed": command.images_needed,
            "allowed": command.images_allowed,
            "roles": list(command.roles),
        },
        "tasks": tasks,
        "models": [spec.name for spec in models if set(tasks) & set(spec.tasks)],
        "options": options,
    }


def _tasks_of(command: type[Command]) -> list[str]:
    """What its models must be able to do, without pictures and with as many as it takes."""
    counts = range(command.images_needed, command.images_allowed + 1)
    images = [tuple(ImageRef("") for _ in range(count)) for count in counts]
    return list(dict.fromkeys(command(images=given).task for given in images))


def model_json(spec: ModelSpec, models: Models, warm: frozenset[str]) -> dict[str, Any]:
    """What can be asked of a model, with the range and default of each option that depends on it."""
    commands = [command.name for command in COMMANDS.values() if set(_tasks_of(command)) & set(spec.tasks)]
    return {
        "name": spec.name,
        "tasks": list(spec.tasks),
        "commands": commands,
        "default_for": [task for task in spec.tasks if models.default_for(task) is spec],
        "repo": PurePath(spec.repo).name if PurePath(spec.repo).is_absolute() else spec.repo,
        "revision": spec.form.get("revision") or spec.revision,
        "licence": spec.licence,
        "demo": spec.demo,
        "note": DEMO_HINT if spec.demo else "",
        "warm": spec.name in warm,
        "max_images": spec.max_images,
        "options": _model_options(spec) if "imagine" in commands else _text_options(spec, commands),
    }


def _model_options(spec: ModelSpec) -> list[dict[str, Any]]:
    side = {"type": "integer", "minimum": spec.min_size, "maximum": spec.max_size, "multiple_of": spec.size_multiple}
    options: list[dict[str, Any]] = [
        {"name": "steps", "type": "integer", "minimum": 1, "maximum": spec.max_steps, "default": spec.steps},
        {"name": "width", "default": spec.width, **side},
        {"name": "height", "default": spec.height, **side},
        {"name": "sampler", "type": "string", "choices": list(spec.known_samplers), "default": spec.sampler or None},
    ]
    if IMAGE_TO_IMAGE in spec.tasks:
        options.append({"name": "strength", "type": "number", "minimum": 0.01, "maximum": 1, "default": spec.strength})
    if spec.takes_guidance:
        guidance = {"type": "number", "minimum": 0, "maximum": 30, "default": spec.guidance_scale}
        options.insert(1, {"name": "guidance_scale", **guidance})
    if spec.takes_negative:
        options.append({"name": "negative_prompt", "type": "string", "default": ""})
    return options


def _text_options(spec: ModelSpec, commands: list[str]) -> list[dict[str, Any]]:
    if not {"caption", "ask"} & set(commands):
        return []
    return [{"name": "max_new_tokens", "type": "integer", "minimum": 1, "maximum": 256, "default": spec.max_new_tokens}]
