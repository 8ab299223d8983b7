"""`/api/v1/jobs` and `/api/v1/quotes`: ask, watch, cancel, look back."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any, TypeVar, cast

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from adapters.web.auth import Caller, TheCaller
from adapters.web.bodies import read_idempotency_key, read_json
from adapters.web.context import TheHouse
from adapters.web.schemas import AcceptedInfo, ImageBody, JobBody, JobInfo, JobPage, ProblemInfo, QuoteInfo
from adapters.web.views import JOBS_URL, accepted_json, event_json, job_json, quote_json
from bot import usecases
from bot.commands import find_command
from bot.errors import EaselError, InvalidOption, JobNotFound, MediaNotFound
from bot.jobs import ImageRef, JobState, Origin

log = structlog.get_logger()

MAX_PAGE = 100
MAX_SEARCH = 200
MAX_CURSOR = 200
_JOB_ID = re.compile(r"[a-z2-7]{4,16}")
_MEDIA_ID = re.compile(r"[0-9a-f]{64}")
Item = TypeVar("Item")

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobBody"}}},
    }
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 200},
    "description": "The same key and body returns the same job; another body is refused",
}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20}


@router.post(
    "/jobs",
    status_code=202,
    response_model=AcceptedInfo,
    response_model_exclude_unset=True,
    openapi_extra={**_BODY, "parameters": [_KEY]},
)
async def ask(request: Request, response: Response, house: TheHouse, caller: TheCaller) -> Any:
    """Ask for something. The job is on disk when this answers."""
    key = read_idempotency_key(request, caller.key)
    body = await read_json(request, JobBody)
    asked = _request_of(body, caller)
    tickets = await house.usecases.jobs.submit(caller.person, asked, key=key, quote=body.quote)
    response.headers["Location"] = f"{JOBS_URL}{tickets[0].job.id}"
    return accepted_json(tickets)


@router.post("/quotes", response_model=QuoteInfo, openapi_extra=_BODY)
async def quote(request: Request, house: TheHouse, caller: TheCaller) -> Any:
    """What asking would cost. Nothing is reserved."""
    body = await read_json(request, JobBody)
    asked = _request_of(body, caller)
    return quote_json(await house.usecases.jobs.quote(caller.person, asked))


def _request_of(body: JobBody, caller: Caller) -> usecases.Request:
    kind = find_command(body.command)
    if body.quote is not None and not body.quote.isascii():
        raise InvalidOption("quote", "quote")
    if body.parent is not None:
        _checked_id(body.parent)
    role = kind.roles[0] if kind.roles else "init"
    images = tuple(_image(image, role) for image in body.images)
    origin = Origin(platform="web", space_id="web", account_id=caller.person.id, is_admin=caller.is_admin)
    return usecases.Request(
        origin=origin,
        command=kind.name,
        options=body.options,
        images=images,
        parent=body.parent,
        is_parent_own=True,
    )


def _image(image: ImageBody | str, role: str) -> ImageRef:
    assert isinstance(image, ImageBody)
    if not _MEDIA_ID.fullmatch(image.id):
        raise MediaNotFound(image.id)
    return ImageRef(image.id, image.role if image.role is not None else role)


def _checked_id(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    return job_id


@router.get("/jobs", response_model=JobPage)
async def history(
    house: TheHouse,
    caller: TheCaller,
    state: Annotated[str | None, Query(description="Only jobs in this state")] = None,
    q: Annotated[str, Query(description="Words from prompts, captions and answers")] = "",
    before: Annotated[str | None, Query(description="What `next` was")] = None,
    limit: Annotated[str, Query(description="How many", json_schema_extra=_LIMIT)] = "20",
) -> Any:
    """The caller's own jobs, newest first."""
    if len(q) > MAX_SEARCH:
        raise InvalidOption("q", "long", value=len(q), allowed=str(MAX_SEARCH))
    if before is not None and not 1 <= len(before) <= MAX_CURSOR:
        raise InvalidOption("before", "body", allowed="it should be what next was")
    tickets, following = await house.usecases.jobs.page(
        caller.person, state=_state(state), q=q.replace("\0", " "), before=before, limit=_limit(limit)
    )
    return {"jobs": [job_json(ticket) for ticket in tickets], "next": following}


def _state(written: str | None) -> JobState | None:
    if not written:
        return None
    try:
        return JobState(written)
    except ValueError as error:
        raise InvalidOption("state", "choice", value=written, allowed=", ".join(JobState)) from error


def _limit(written: str) -> int:
    if not written.isascii() or not written.isdecimal() or not 1 <= int(written[:9]) <= MAX_PAGE:
        raise InvalidOption("limit", "range", value=written, allowed=f"1 to {MAX_PAGE}")
    return int(written)


@router.get("/jobs/{job_id}", response_model=JobInfo)
async def job(job_id: str, house: TheHouse, caller: TheCaller) -> Any:
    """One job, by its id or any unique prefix of 4 or more characters."""
    return job_json(await house.usecases.jobs.get(caller.person, _checked_id(job_id)))


@router.delete("/jobs/{job_id}", status_code=202, response_model=JobInfo)
async def cancel(job_id: str, house: TheHouse, caller: TheCaller) -> Any:
    """Cancel: now if it is queued, at the next step if it runs."""
    ticket = await house.usecases.jobs.cancel(caller.person, _checked_id(job_id))
    return {**job_json(ticket), "cancel_requested": True}


async def _followed(job_id: str, house: TheHouse, caller: TheCaller) -> str:
    """The full id of the caller's job: refusals must come before the stream begins."""
    return (await house.usecases.jobs.get(caller.person, _checked_id(job_id))).job.id


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
async def events(
    full_id: Annotated[str, Depends(_followed)], house: TheHouse, caller: TheCaller
) -> AsyncIterator[ServerSentEvent]:
    """`state` at once, then `progress` and each `state`, up to `result` or `error`.

    The id of `state`, `result` and `error` is the job's stored version; `progress` has none.
    """
    following = cast("AsyncGenerator[usecases.Event, None]", house.usecases.jobs.follow(caller.person, full_id))
    try:
        async with aclosing(following):
            async for event in until(house.closing, following):
                version = None if event.kind == "progress" else str(event.ticket.job.version)
                yield ServerSentEvent(data=event_json(event), event=event.kind, id=version)
    except EaselError as error:
        log.warning("A stream ended early", action="web.stream", job_id=full_id, error=error.code)


async def until(closing: asyncio.Event, items: AsyncGenerator[Item, None]) -> AsyncIterator[Item]:
    """The items, up to their end or the moment that `closing` is set."""
    closed = asyncio.ensure_future(closing.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({following, closed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not following.done():
                    following.cancel()
                    with suppress(asyncio.CancelledError):
                        await following
            if closed.done():
                return
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        closed.cancel()
