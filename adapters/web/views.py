"""REST's JSON bodies, built from the core's objects."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import PurePath
from typing import Any

from bot.commands import COMMANDS, Command
from bot.commands.ask import images_per_question
from bot.commands.edit import IMAGE_GUIDANCE, takes_image_guidance
from bot.commands.input_images import KINDS
from bot.commands.upscale import describe_upscaling
from bot.error_texts import DEMO_HINT, explain
from bot.errors import JobCancelled
from bot.jobs import ImageRef, Job, JobState, Result, StoredImage
from bot.models import IMAGE_TASKS, IMAGE_TO_IMAGE, ModelRegistry, ModelSpec
from bot.ports import AdapterRecord, Correction, PictureCollection, PictureMarks, Progress
from bot.usecases import JobEvent, Quota, Quote, Ticket
from bot.usecases.adapter_views import adapter_option
from bot.usecases.corrections import retired_sentence
from bot.usecases.grid_names import cell_of
from bot.usecases.job_facts import read_facts
from bot.usecases.model_views import install_progress_body
from bot.usecases.recalled import RecalledSettings

MEDIA_URL = "/api/v1/media/"
JOBS_URL = "/api/v1/jobs/"
RETIRED = "Easel-Retired-Adapters"
"""The header with the names of adapters that were switched off."""
IMAGE_FIELDS = ("id", "role", "kind", "weight", "start", "end", "ready")
"""Fields of an input image, from the request to the job."""


def job_json(ticket: Ticket) -> dict[str, Any]:
    """The body of `GET /jobs/{id}`."""
    job = ticket.job
    install = install_progress_body(ticket.install_progress)
    return {
        "id": job.id,
        "command": job.command,
        "options": dict(job.options),
        "images": [{name: getattr(image, name) for name in IMAGE_FIELDS} for image in job.images],
        "state": job.state.value,
        "position": ticket.position,
        "eta_s": ticket.eta_s,
        "progress": _progress_json(ticket),
        "install_progress": {"title": ticket.title, **install} if install else None,
        "result": _result_json(ticket),
        "correction": correction_json(ticket.marks.correction) if ticket.marks.correction else None,
        "error": error_json(job),
        "facts": {**asdict(read_facts(job)), "cell": cell_of(job) or None},
        "cost": job.cost,
        "parent": job.parent,
        "batch": job.batch,
        "cancel_requested": job.cancel_requested,
        "created_at": format_time(job.created_at),
        "started_at": format_time(job.started_at),
        "finished_at": format_time(job.finished_at),
    }


def _progress_json(ticket: Ticket) -> dict[str, Any] | None:
    """None: the job has ended."""
    if ticket.job.state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    progress = ticket.progress or Progress(step=0, steps=0, phase="waiting")
    return {"phase": progress.phase, "step": progress.step, "steps": progress.steps, "text": progress.text or None}


def format_time(when: datetime | None) -> str | None:
    """ISO 8601 as pydantic writes it, so REST bodies and events have the same format."""
    return when.isoformat().replace("+00:00", "Z") if when else None


def _result_json(ticket: Ticket) -> dict[str, Any] | None:
    result = ticket.job.result
    if result is None:
        return None
    return {
        "media": [
            None if image is None else _result_media_json(image, result, ticket.marks) for image in result.pictures
        ],
        "text": result.text,
        "seed": result.seed,
        "model": result.model,
        "revision": result.revision,
        "seconds": result.seconds,
        "parameters": result.parameters,
        "notes": list(result.notes),
    }


def _result_media_json(image: StoredImage, result: Result, marks: PictureMarks) -> dict[str, Any]:
    return {
        "id": image.id,
        "url": f"{MEDIA_URL}{image.id}",
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "alt": image.alt,
        "spoiler": image.is_spoiler,
        "seed": result.seed_of(image.number),
        "score": image.score,
        "favourite": image.number in marks.favourites,
        "collections": list(marks.collections.get(image.number, ())),
    }


def correction_json(correction: Correction) -> dict[str, Any]:
    return {
        "text": correction.text,
        "consent": correction.consented_at is not None,
        "created_at": format_time(correction.created_at),
        "consented_at": format_time(correction.consented_at),
        "withdrawn_at": format_time(correction.withdrawn_at),
    }


def saved_correction_json(correction: Correction, retired: Sequence[AdapterRecord]) -> dict[str, Any]:
    """`retired`: adapters that were switched off for it."""
    names = [one.name for one in retired]
    return {**correction_json(correction), "retired_adapters": names, "note": retired_sentence(names)}


def error_json(job: Job) -> dict[str, Any] | None:
    """Why there is no result, including a cancellation."""
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
    """The first job's fields; for a batch also all of its jobs."""
    first = ticket_json(tickets[0])
    if tickets[0].job.batch is None:
        return first
    return {**first, "batch": tickets[0].job.batch, "jobs": [ticket_json(ticket) for ticket in tickets]}


def event_json(event: JobEvent) -> Any:
    """The data of one server-sent event."""
    if event.kind == "progress":
        progress = event.ticket.progress
        assert progress is not None
        return {
            "phase": progress.phase,
            "step": progress.step,
            "steps": progress.steps,
            "eta_s": event.ticket.eta_s,
            "preview": _preview_url(progress),
            "text": progress.text or None,
        }
    return error_json(event.ticket.job) if event.kind == "error" else job_json(event.ticket)


def _preview_url(progress: Progress) -> str | None:
    if not progress.preview:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(progress.preview).decode('ascii')}"


def quote_json(quote: Quote) -> dict[str, Any]:
    tokens = {name: asdict(count) if count is not None else None for name, count in quote.tokens.items()}
    return {"jobs": quote.jobs, "cost": quote.cost, "eta_s": quote.eta_s, "quote": quote.quote, "tokens": tokens}


def quota_json(quota: Quota) -> dict[str, Any]:
    return {
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "unit": "device-seconds",
        "resets_at": format_time(quota.resets_at),
    }


def collection_json(collection: PictureCollection) -> dict[str, Any]:
    return {
        "id": collection.id,
        "name": collection.name,
        "count": collection.count,
        "cover": collection.cover,
        "created_at": format_time(collection.created_at),
    }


def media_json(image: StoredImage, fitted: RecalledSettings | None = None) -> dict[str, Any]:
    """`fitted`: the file's settings as a request that is accepted here."""
    parameters = dict(image.parameters) if image.parameters is not None else None
    if parameters is not None and fitted is not None:
        parameters |= {"fitted": dict(fitted.options), "notes": list(fitted.notes)}
    return {
        "id": image.id,
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "parameters": parameters,
    }


def command_json(command: type[Command], models: ModelRegistry, styles: Sequence[str] = ()) -> dict[str, Any]:
    tasks = _command_tasks(command)
    options = [spec.describe() for spec in command.specs]
    for option in options:
        if option["name"] == "style":
            option["choices"] = list(styles)
    return {
        "name": command.name,
        "summary": command.summary,
        "answers": command.answers.value,
        "images": {
            "needed": command.images_needed,
            "allowed": command.count_allowed(models),
            "roles": list(command.roles),
            "limits": _image_limits(command, models),
            "kinds": {role: list(kinds) for role, kinds in KINDS.items() if role in command.roles},
        },
        "tasks": tasks,
        "models": [spec.name for spec in models if set(tasks) & set(spec.tasks) and command.fits_model(spec)],
        "options": options,
    }


def _image_limits(command: type[Command], models: ModelRegistry) -> dict[str, int]:
    """By role, how many there may be; roles that count together have the same."""
    return {role: command.further_images.get(role, command.count_allowed(models)) for role in command.roles}


def _command_tasks(command: type[Command]) -> list[str]:
    """The tasks that its models must support, for every number of input images."""
    counts = range(command.images_needed, command.images_allowed + 1)
    role = next(iter(command.roles), "init")
    images = [tuple(ImageRef("", role) for _ in range(count)) for count in counts]
    return list(dict.fromkeys(command(images=given).task for given in images))


def model_json(
    spec: ModelSpec, models: ModelRegistry, loaded: frozenset[str], adapters: Sequence[str] = ()
) -> dict[str, Any]:
    """A model's tasks and commands, with the range and default of each option that depends on it.

    `adapters`: those that it may use.
    """
    adapter = adapter_option(spec, adapters)
    commands = [
        command.name
        for command in COMMANDS.values()
        if set(_command_tasks(command)) & set(spec.tasks) and command.fits_model(spec)
    ]
    return {
        "name": spec.name,
        "tasks": list(spec.tasks),
        "commands": commands,
        "default_for": [task for task in spec.tasks if models.default_for(task) is spec],
        "repo": PurePath(spec.repo).name if PurePath(spec.repo).is_absolute() else spec.repo,
        "revision": spec.capabilities.get("revision") or spec.revision,
        "licence": spec.licence,
        "demo": spec.demo,
        "note": DEMO_HINT if spec.demo else "",
        "loaded": spec.name in loaded,
        "max_images": max(spec.max_images, images_per_question(spec)),
        "upscale": describe_upscaling(spec),
        "options": [
            *(_model_options(spec) if IMAGE_TASKS & set(spec.tasks) else _text_options(spec, commands)),
            *([adapter] if adapter else ()),
        ],
        "further_options": list(spec.capabilities.get("row_options", ())),
        "schedules": dict(spec.capabilities.get("schedules", {})),
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
    if takes_image_guidance(spec):
        options.append({"name": IMAGE_GUIDANCE, "type": "number", "minimum": 1, "maximum": 5, "default": None})
    return options


def _text_options(spec: ModelSpec, commands: list[str]) -> list[dict[str, Any]]:
    if not {"caption", "ask"} & set(commands):
        return []
    return [{"name": "max_new_tokens", "type": "integer", "minimum": 1, "maximum": 256, "default": spec.max_new_tokens}]
