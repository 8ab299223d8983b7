"""`/api/v1/admin`: people, keys, quotas, everybody's queue, devices, figures, reports, refusals, incidents, storage."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from adapters.web.admin_views import (
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
from adapters.web.context import ContextDep
from adapters.web.routes_jobs import MAX_CURSOR, parse_limit, require_job_id
from adapters.web.schemas import AdminKeyBody, ProblemInfo, QuotaBody, ReportActionBody
from bot.errors import InvalidOption, NotFound
from bot.ports import ReportState
from bot.usecases.reports import DISMISS

MAX_WORDS = 200
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
STATES: tuple[ReportState, ...] = ("open", "closed", "all")
LINK_URL = "/#key="
"""The page sends what follows as a key, and forgets it; servers, logs and previews of links never see it."""

router = APIRouter(prefix="/api/v1/admin", tags=["admin"], responses={"4XX": {"model": ProblemInfo}})

AdminDep = Annotated[Caller, Depends(require_admin)]
Before = Annotated[str | None, Query(description="The previous response's `next`")]
Limit = Annotated[
    str, Query(description="Page size", json_schema_extra={"type": "integer", "minimum": 1, "maximum": 100})
]


def _check_cursor(before: str | None) -> str | None:
    """Raises: InvalidOption."""
    if before is not None and not 1 <= len(before) <= MAX_CURSOR:
        raise InvalidOption("before", "body", allowed="it must be the previous response's next")
    return before


def _check_words(option: str, text: str) -> str:
    """Raises: InvalidOption."""
    if len(text) > MAX_WORDS:
        raise InvalidOption(option, "long", value=len(text), allowed=str(MAX_WORDS))
    return text.replace("\0", " ").strip()


def _check_number(kind: str, text: str) -> int:
    """Raises: NotFound."""
    if not _NUMBER.fullmatch(text):
        raise NotFound(kind, text[:40])
    return int(text)


# ---------------------------------------------------------------- people and keys


@router.get("/people")
async def list_people(
    context: ContextDep,
    _admin: AdminDep,
    q: Annotated[str, Query(description="A part of a name, or the id of a person or an account")] = "",
    before: Before = None,
    limit: Limit = "50",
) -> dict[str, Any]:
    """Everybody who was not forgotten, newest first, with today's usage in device-seconds."""
    usecases = context.usecases
    page = await usecases.admin.list_people(
        q=_check_words("q", q), before=_check_cursor(before), limit=parse_limit(limit)
    )
    people = [summary_json(one, usecases.jobs.daily_allowance_s(one.person)) for one in page.items]
    return {"people": people, "total": page.total, "next": page.next}


_QUOTA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/QuotaBody"}}},
    }
}


@router.put("/people/{person_id}/quota", openapi_extra=_QUOTA)
async def set_quota(person_id: str, request: Request, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Set a person's daily quota in device-seconds. Null: the configured one."""
    body = await read_json(request, QuotaBody)
    person = await context.usecases.admin.set_quota(admin.key, person_id, body.limit)
    limit = context.usecases.jobs.daily_allowance_s(person)
    return {**person_json(person), "limit": limit, "own_limit": person.daily_s}


@router.get("/keys")
async def list_keys(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """All API keys, revoked ones included, without their secrets."""
    keys = [key_json(key) for key in await context.usecases.people.list_keys()]
    return {"keys": keys, "total": len(keys)}


_KEY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/AdminKeyBody"}}},
    }
}


@router.post("/keys", status_code=201, openapi_extra=_KEY)
async def create_key(request: Request, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Create an API key: for somebody new, or without `person` for the caller.

    `key` is shown only here. `link`, below the page's address, lets its first visitor in without typing the key; it is
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
async def list_queue(
    context: ContextDep, admin: AdminDep, before: Before = None, limit: Limit = "50"
) -> dict[str, Any]:
    """Everybody's running and queued jobs. `prompt` is null, except of the admin's own and of reported jobs."""
    page = await context.usecases.admin.list_queue(admin.person, before=_check_cursor(before), limit=parse_limit(limit))
    return {"jobs": [queued_json(one) for one in page.items], "total": page.total, "next": page.next}


@router.delete("/jobs/{job_id}", status_code=202)
async def cancel_any_job(job_id: str, context: ContextDep, admin: AdminDep) -> dict[str, Any]:
    """Cancel anybody's job, by its full id. The cost is refunded, and the person is told."""
    cancelled = await context.usecases.admin.cancel_job(admin.person, admin.key, require_job_id(job_id))
    return {**queued_json(cancelled), "cancel_requested": True}


# ---------------------------------------------------------------- reports and refusals


@router.get("/reports")
async def list_reports(
    context: ContextDep,
    admin: AdminDep,
    state: Annotated[str, Query(description="open, closed or all")] = "all",
    before: Before = None,
    limit: Limit = "50",
) -> dict[str, Any]:
    """What people reported, open reports first. Reading an open one, which shows the job's words, is logged."""
    known = next((one for one in STATES if one == state), None)
    if known is None:
        raise InvalidOption("state", "choice", value=state[:40], allowed=", ".join(STATES))
    page = await context.usecases.reports.list_reports(
        admin.key, known, before=_check_cursor(before), limit=parse_limit(limit)
    )
    return {"reports": [report_json(one) for one in page.items], "total": page.total, "next": page.next}


@router.get("/reports/{report_id}/pictures/{n}", response_class=Response)
async def get_reported_picture(report_id: str, n: str, context: ContextDep, admin: AdminDep) -> Response:
    """A picture that an open report is about. This is logged."""
    image = await context.usecases.reports.read_picture(
        admin.key, _check_number("report", report_id), _check_number("picture", n)
    )
    return Response(image.data, media_type=image.media_type, headers={"Cache-Control": "no-store"})


_ACTION = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ReportActionBody"}}},
    }
}


@router.delete("/reports/{report_id}", status_code=204, openapi_extra=_ACTION)
async def close_report(
    report_id: str,
    request: Request,
    context: ContextDep,
    admin: AdminDep,
    action: Annotated[str | None, Query(description="dismiss or delete; also in the body")] = None,
) -> None:
    """Close a report. `delete` also deletes what was reported, with its messages in chats; the report goes with it."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    chosen = (await read_json(request, ReportActionBody)).action if has_body else action or DISMISS
    await context.usecases.reports.close_report(admin.key, _check_number("report", report_id), chosen)


@router.get("/blocked")
async def list_blocked(
    context: ContextDep, _admin: AdminDep, before: Before = None, limit: Limit = "50"
) -> dict[str, Any]:
    """Jobs that were refused while they ran, newest first, without their words and pictures."""
    page = await context.usecases.admin.list_blocked(before=_check_cursor(before), limit=parse_limit(limit))
    return {"blocked": [failure_json(*one) for one in page.items], "total": page.total, "next": page.next}


@router.get("/incidents")
async def find_incidents(
    context: ContextDep,
    _admin: AdminDep,
    code: Annotated[str, Query(description="The code that a person was told")] = "",
) -> dict[str, Any]:
    """Failed jobs and lines of the log with this incident; without `code`, the latest failed jobs."""
    jobs, lines = await context.usecases.admin.find_incidents(_check_words("code", code))
    return {"incidents": [failure_json(*one) for one in jobs], "log": list(lines)}


# ---------------------------------------------------------------- the server


@router.get("/devices")
async def list_devices(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """The devices, with their memory, models and last loss, and what the server checks about itself."""
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
    """Figures of each minute: waits, finished jobs and images, errors, the queue, memory of the devices."""
    return samples_json(await context.usecases.admin.list_samples(_parse_time("since", since)))


def _parse_time(option: str, text: str) -> datetime | None:
    """None: it is empty. Raises: InvalidOption."""
    if not text:
        return None
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        parsed = datetime.fromisoformat(text[:40].replace(" ", "+") if "T" in text else text[:40])
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        allowed = "it must be a time such as 2026-11-30T12:00:00Z"
        raise InvalidOption(option, "body", allowed=allowed) from error


@router.get("/storage")
async def get_storage(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """What images and the database take, and when images are deleted."""
    use = await context.usecases.admin.measure_storage()
    settings = context.usecases.admin.settings
    return {
        "images": use.images,
        "image_bytes": use.image_bytes,
        "database_bytes": use.database_bytes,
        "free_bytes": use.free_bytes,
        "oldest_image_at": use.oldest,
        "retention": settings.get("retention", {}),
        "unused_uploads_h": settings.get("images", {}).get("max_unused_h"),
        "min_free_mb": settings.get("storage", {}).get("min_free_mb"),
    }


@router.get("/settings")
async def get_settings(context: ContextDep, _admin: AdminDep) -> dict[str, Any]:
    """Policies and limits as the config sets them, by section. They cannot be changed here."""
    return {"settings": context.usecases.admin.settings}
