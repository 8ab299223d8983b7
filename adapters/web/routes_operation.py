"""`/api/v1/admin`: people, keys, quotas, everyone's queue, devices, metrics, reports, blocks, incidents, storage."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from adapters.web.admin_views import (
    blocked_json,
    device_json,
    failure_json,
    key_json,
    person_json,
    queued_json,
    report_json,
    samples_json,
    summary_json,
)
from adapters.web.auth import Caller, require_admin
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep, WebContext
from adapters.web.parameters import SliceOf50, body_of, check_words, parse_time, require_number
from adapters.web.routes_jobs import require_job_id
from adapters.web.schemas import AdminKeyBody, ProblemInfo, QuotaBody, ReportActionBody
from bot.errors import InvalidOption
from bot.ports import ReportState
from bot.usecases.reports import DISMISS

STATES: tuple[ReportState, ...] = ("open", "closed", "all")
LINK_URL = "/#key="
"""The page sends the rest as a key and removes it from the URL; servers, logs and link previews never see it."""

router = APIRouter(prefix="/api/v1/admin", tags=["admin"], responses={"4XX": {"model": ProblemInfo}})

AdminDep = Annotated[Caller, Depends(require_admin)]


# ---------------------------------------------------------------- people and keys


@router.get("/people")
async def list_people(
    context: ContextDep,
    _admin: AdminDep,
    wanted: SliceOf50,
    q: Annotated[str, Query(description="A part of a name, or the id of a person or an account")] = "",
) -> dict[str, Any]:
    """Everyone except forgotten people, newest first, with today's usage in device-seconds."""
    usecases = context.usecases
    page = await usecases.admin.list_people(q=check_words("q", q).strip(), before=wanted.before, limit=wanted.limit)
    people = [summary_json(one, usecases.jobs.daily_allowance_s(one.person)) for one in page.items]
    return {"people": people, "total": page.total, "next": page.next}


@router.put("/people/{person_id}/quota", openapi_extra=body_of("QuotaBody"))
async def set_quota(person_id: str, request: Request, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Set a person's daily quota in device-seconds. Null: the configured one."""
    body = await read_json(request, QuotaBody)
    person = await context.usecases.admin.set_quota(admin.key, person_id, body.limit)
    limit = context.usecases.jobs.daily_allowance_s(person)
    return {**person_json(person), "limit": limit, "own_limit": person.daily_s}


@router.put("/people/{person_id}/block")
async def block_person(person_id: str, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Refuse what the person asks for from now on, on all their accounts, and cancel what waits and runs. They can
    still see, download and delete what they have. Repeating this does no harm."""
    return await _set_blocked(context, admin, person_id, is_blocked=True)


@router.delete("/people/{person_id}/block")
async def unblock_person(person_id: str, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Let the person use everything again."""
    return await _set_blocked(context, admin, person_id, is_blocked=False)


async def _set_blocked(context: WebContext, admin: Caller, person_id: str, *, is_blocked: bool) -> dict[str, Any]:
    person, cancelled = await context.usecases.admin.set_blocked(
        admin.person, admin.key, person_id, is_blocked=is_blocked
    )
    return {**person_json(person), "blocked": person.is_blocked, "cancelled": list(cancelled)}


@router.get("/keys")
async def list_keys(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """All API keys, revoked ones included, without their secrets."""
    keys = [key_json(key) for key in await context.usecases.people.list_keys()]
    return {"keys": keys, "total": len(keys)}


@router.post("/keys", status_code=201, openapi_extra=body_of("AdminKeyBody"))
async def create_key(request: Request, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Create an API key for a new person, or without `person` for the caller.

    `key` is shown only here. `link`, relative to the page's URL, signs in its first visitor without the key; it is
    valid for 24 hours.
    """
    body = await read_json(request, AdminKeyBody)
    usecases = context.usecases
    key, text = await usecases.admin.create_key(
        admin.person, admin.key, person=body.person, is_admin=body.admin, name=body.name
    )
    token, expires_at = await usecases.key_links.create_link(key.prefix)
    return {"key": text, "link": f"{LINK_URL}{token}", "link_expires_at": expires_at, **key_json(key)}


@router.delete("/keys/{prefix}")
async def revoke_key(prefix: str, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Revoke a key. Its sessions, streams and links end."""
    return key_json(await context.usecases.admin.revoke_key(admin.key, prefix))


# ---------------------------------------------------------------- the queue


@router.get("/jobs")
async def list_queue(context: ContextDep, admin: AdminDep, wanted: SliceOf50) -> dict[str, Any]:
    """Everyone's running and queued jobs. `prompt` is null except for the admin's own and reported jobs."""
    page = await context.usecases.admin.list_queue(admin.person, before=wanted.before, limit=wanted.limit)
    return {"jobs": [queued_json(one) for one in page.items], "total": page.total, "next": page.next}


@router.delete("/jobs/{job_id}", status_code=202)
async def cancel_any_job(job_id: str, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Cancel anyone's job by its full id. The cost is refunded, and the person is notified."""
    cancelled = await context.usecases.admin.cancel_job(admin.person, admin.key, require_job_id(job_id))
    return {**queued_json(cancelled), "cancel_requested": True}


# ---------------------------------------------------------------- reports and refusals


@router.get("/reports")
async def list_reports(
    context: ContextDep,
    admin: AdminDep,
    wanted: SliceOf50,
    state: Annotated[str, Query(description="open, closed or all")] = "all",
) -> dict[str, Any]:
    """Reports, open ones first. Reading an open report, which shows the job's prompt, is logged."""
    known = next((one for one in STATES if one == state), None)
    if known is None:
        raise InvalidOption("state", "choice", value=state[:40], allowed=", ".join(STATES))
    page = await context.usecases.reports.list_reports(admin.key, known, before=wanted.before, limit=wanted.limit)
    return {"reports": [report_json(one) for one in page.items], "total": page.total, "next": page.next}


@router.get("/reports/{report_id}/pictures/{n}", response_class=Response)
async def get_reported_picture(report_id: str, n: str, context: ContextDep, admin: AdminDep) -> Response:
    """A picture of an open report. Viewing it is logged."""
    image = await context.usecases.reports.read_picture(
        admin.key, require_number(report_id, "report"), require_number(n)
    )
    return Response(image.data, media_type=image.media_type, headers={"Cache-Control": "no-store"})


@router.delete("/reports/{report_id}", status_code=204, openapi_extra=body_of("ReportActionBody", is_required=False))
async def close_report(
    report_id: str,
    request: Request,
    context: ContextDep,
    admin: AdminDep,
    action: Annotated[str | None, Query(description="dismiss or delete; also in the body")] = None,
) -> None:
    """Close a report. `delete` also deletes the reported content, its chat messages and the report itself."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    chosen = (await read_json(request, ReportActionBody)).action if has_body else action or DISMISS
    await context.usecases.reports.close_report(admin.key, require_number(report_id, "report"), chosen)


@router.get("/blocked")
async def list_blocked(context: ContextDep, _admin: AdminDep, wanted: SliceOf50) -> dict[str, Any]:
    """What was refused, newest first, without its words and pictures: jobs while they ran, and requests before they
    were accepted, whose `id` is null and whose `reason` names the rule."""
    page = await context.usecases.admin.list_blocked(before=wanted.before, limit=wanted.limit)
    return {"blocked": [blocked_json(one) for one in page.items], "total": page.total, "next": page.next}


@router.get("/incidents")
async def find_incidents(
    context: ContextDep,
    _admin: AdminDep,
    code: Annotated[str, Query(description="The incident code")] = "",
) -> dict[str, Any]:
    """Failed jobs and log lines with this incident code; without `code`, the latest failed jobs."""
    jobs, lines = await context.usecases.admin.find_incidents(check_words("code", code).strip())
    return {"incidents": [failure_json(*one) for one in jobs], "log": list(lines)}


# ---------------------------------------------------------------- the server


@router.get("/devices")
async def list_devices(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """The devices, with memory, models and last failure, and the server's health checks."""
    usecases = context.usecases
    machine = await usecases.model_manager.machine_spec()
    totals = {name: megabytes for name, _, megabytes in machine.devices}
    devices = [
        device_json(one, totals.get(one.device) or (machine.ram_mb if one.device == "cpu" else 0))
        for one in usecases.operations.devices()
    ]
    checks = await usecases.operations.check_readiness()
    return {"devices": devices, "checks": [{"name": one.name, "ok": one.is_ok, "text": one.sentence} for one in checks]}


@router.get("/metrics")
async def list_metrics(
    context: ContextDep,
    _admin: AdminDep,
    since: Annotated[str, Query(description="ISO 8601 or Unix seconds; by default 24 hours ago")] = "",
) -> dict[str, Any]:
    """Metrics per minute: queue time, finished jobs and images, errors, queue length, device memory."""
    return samples_json(await context.usecases.admin.list_samples(parse_time("since", since, allows_seconds=True)))


@router.get("/storage")
async def get_storage(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """Disk usage of images, the database, compiled models and trainings, and the retention settings."""
    use = await context.usecases.admin.measure_storage()
    settings = context.usecases.admin.settings
    return {
        "images": use.images,
        "image_bytes": use.image_bytes,
        "database_bytes": use.database_bytes,
        "builds_bytes": use.builds_bytes,
        "learning_bytes": use.learning_bytes,
        "free_bytes": use.free_bytes,
        "oldest_image_at": use.oldest,
        "retention": settings.get("retention", {}),
        "unused_uploads_h": settings.get("images", {}).get("max_unused_h"),
        "min_free_mb": settings.get("storage", {}).get("min_free_mb"),
    }


@router.get("/settings")
async def get_settings(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """Policies and limits set in the config, by section. Read-only."""
    return {"settings": context.usecases.admin.settings}
