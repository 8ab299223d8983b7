"""`/api/v1/jobs` and `/api/v1/quotes`: submit, follow, cancel and list jobs."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, cast

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from adapters.web.auth import Caller, CallerDep, watch_access
from adapters.web.batch_views import BATCHES_URL, sheets_json
from adapters.web.bodies import read_idempotency_key, read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import (
    FLAG,
    ListSlice,
    SliceOf20,
    body_of,
    check_cursor,
    check_words,
    parse_flag,
    parse_time,
)
from adapters.web.plugin_schemas import TextAnswerInfo
from adapters.web.schemas import (
    AcceptedInfo,
    FoundJobPage,
    ImageBody,
    JobBody,
    JobInfo,
    JobPage,
    ProblemInfo,
    QuoteInfo,
)
from adapters.web.streams import iterate_until
from adapters.web.views import IMAGE_FIELDS, JOBS_URL, accepted_json, event_json, job_json, quote_json
from bot import usecases
from bot.commands import Grid, find_command
from bot.errors import EaselError, InvalidOption, JobNotFound, MediaNotFound
from bot.jobs import ImageRef, JobState, Origin
from bot.ports import HistoryFilter

log = structlog.get_logger()

_JOB_ID = re.compile(r"[a-z2-7]{4,16}")
_MEDIA_ID = re.compile(r"[0-9a-f]{64}")

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})


_BODY = body_of("JobBody")
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 200},
    "description": "The same key and body return the same job; the same key with another body is refused",
}
_ON_FLAG = {**FLAG, "default": True}
_TIME = {"type": "string", "format": "date-time"}


@router.post(
    "/jobs",
    status_code=202,
    response_model=AcceptedInfo,
    response_model_exclude_unset=True,
    responses={
        200: {"model": TextAnswerInfo, "description": "A plugin's command answered with a text: there is no job"}
    },
    openapi_extra={**_BODY, "parameters": [_KEY]},
)
async def submit_job(request: Request, response: Response, context: ContextDep, caller: CallerDep) -> Any:
    """Submit a job. It is stored on disk before the response is sent."""
    key = read_idempotency_key(request, caller.key)
    body = await read_json(request, JobBody)
    submitted = _to_request(body, caller, context.usecases.plugins)
    try:
        tickets = await context.usecases.jobs.submit(caller.person, submitted, key=key, quote=body.quote)
    except usecases.PluginAnswer as answer:
        return JSONResponse({"text": answer.text})
    if submitted.command != Grid.name:
        response.headers["Location"] = f"{JOBS_URL}{tickets[0].job.id}"
        return accepted_json(tickets)
    view = await context.usecases.grids.get_batch(caller.person.id, tickets[0].job.batch or "")
    response.headers["Location"] = f"{BATCHES_URL}{view.id}"
    return {**accepted_json(tickets), **sheets_json(view)}


@router.post("/quotes", response_model=QuoteInfo, openapi_extra=_BODY)
async def quote_price(request: Request, context: ContextDep, caller: CallerDep) -> Any:
    """The cost of a request. Nothing is reserved."""
    body = await read_json(request, JobBody)
    submitted = _to_request(body, caller, context.usecases.plugins)
    return quote_json(await context.usecases.jobs.quote(caller.person, submitted))


def _to_request(body: JobBody, caller: Caller, plugins: usecases.PluginRequests) -> usecases.Request:
    own = plugins.find_command(body.command)
    command_class = find_command(body.command) if own is None else None
    if body.quote is not None and not body.quote.isascii():
        raise InvalidOption("quote", "quote")
    if body.parent is not None:
        require_job_id(body.parent)
    role = command_class.roles[0] if command_class is not None and command_class.roles else "init"
    images = tuple(_to_image_ref(image, role) for image in body.images)
    origin = Origin(
        platform="web",
        space_id="web",
        account_id=caller.person.id,
        is_admin=caller.is_admin,
        extra={"client": caller.client} if caller.client else {},
        webhook=body.webhook or "",
    )
    return usecases.Request(
        origin=origin,
        command=command_class.name if command_class is not None else body.command,
        options=body.options,
        images=images,
        parent=body.parent,
        requires_own_parent=True,
    )


def _to_image_ref(image: ImageBody | str, role: str) -> ImageRef:
    assert isinstance(image, ImageBody)
    if not _MEDIA_ID.fullmatch(image.id):
        raise MediaNotFound(image.id)
    said = {name: getattr(image, name) for name in IMAGE_FIELDS}
    return ImageRef(**{**said, "role": image.role if image.role is not None else role})


def require_job_id(job_id: str) -> str:
    """Raises: JobNotFound: it is no id, nor the beginning of one."""
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    return job_id


def _read_filter(
    favourite: Annotated[str, Query(description="true: only jobs with a favourite", json_schema_extra=FLAG)] = "false",
    command: Annotated[str, Query(description="Only jobs of this command")] = "",
    model: Annotated[str, Query(description="Only jobs of this model")] = "",
    collection: Annotated[str, Query(description="Only jobs with a picture in this collection")] = "",
    since: Annotated[str, Query(description="Only jobs from this time on, as ISO 8601", json_schema_extra=_TIME)] = "",
    until: Annotated[str, Query(description="Only jobs before this time", json_schema_extra=_TIME)] = "",
    results: Annotated[str, Query(description="true: only jobs with a result", json_schema_extra=FLAG)] = "false",
    parent: Annotated[str, Query(description="Only jobs that follow from this one")] = "",
    image: Annotated[str, Query(description="Only jobs that were given this image")] = "",
) -> HistoryFilter:
    """Raises: InvalidOption."""
    return HistoryFilter(
        favourite=parse_flag("favourite", favourite),
        command=command[:64],
        model=model[:128],
        collection=collection[:64],
        since=parse_time("since", since),
        until=parse_time("until", until),
        results=parse_flag("results", results),
        parent=parent[:16],
        image=image[:64],
    )


@router.get("/jobs", response_model=FoundJobPage | JobPage)
async def list_jobs(
    context: ContextDep,
    caller: CallerDep,
    only: Annotated[HistoryFilter, Depends(_read_filter)],
    page: SliceOf20,
    state: Annotated[str | None, Query(description="Only jobs in this state")] = None,
    q: Annotated[str, Query(description="Words in prompts, captions and answers")] = "",
    after: Annotated[
        str | None,
        Query(description="Only jobs newer than this one, the nearest first page; `next` is the next `after`"),
    ] = None,
    meaning: Annotated[
        str, Query(description="true: find `q` in what pictures show as well, best first", json_schema_extra=FLAG)
    ] = "false",
    refine: Annotated[
        str,
        Query(description="With `meaning`, true: wait until the order is final, at most 20 s", json_schema_extra=FLAG),
    ] = "false",
) -> Any:
    """The caller's own jobs, newest first. `total` counts those on all pages.

    With `meaning` and words, they are one list of what has the words and of what shows them, best first. The first
    answer does not wait for models: `refined` says whether it is final.
    """
    is_refined, words = parse_flag("refine", refine), check_words("q", q)
    if parse_flag("meaning", meaning) and words.strip():
        if after is not None:
            raise InvalidOption("after", "body", allowed="a search by meaning has no newer page; use before")
        return await _search(context, caller, state, words, only, page, is_refined=is_refined)
    jobs, person, only_state = context.usecases.jobs, caller.person, _parse_state(state)
    tickets, next_cursor = await jobs.list_tickets(
        person,
        state=only_state,
        q=words,
        only=only,
        before=page.before,
        after=check_cursor("after", after),
        limit=page.limit,
    )
    total = await jobs.count_jobs(person, state=only_state, q=words, only=only)
    return {"jobs": [job_json(ticket) for ticket in tickets], "next": next_cursor, "total": total}


async def _search(
    context: ContextDep,
    caller: Caller,
    state: str | None,
    words: str,
    only: HistoryFilter,
    page: ListSlice,
    *,
    is_refined: bool,
) -> dict[str, Any]:
    found = await context.usecases.search.search(
        caller.person,
        words,
        state=_parse_state(state),
        only=only,
        before=page.before,
        limit=page.limit,
        is_refined=is_refined,
    )
    jobs = [job_json(ticket) for ticket in found.tickets]
    return {"jobs": jobs, "next": found.next, "total": found.total, "refined": found.is_refined}


def _parse_state(text: str | None) -> JobState | None:
    if not text:
        return None
    try:
        return JobState(text)
    except ValueError as error:
        raise InvalidOption("state", "choice", value=text, allowed=", ".join(JobState)) from error


@router.get("/jobs/{job_id}", response_model=JobInfo)
async def get_job(job_id: str, context: ContextDep, caller: CallerDep) -> Any:
    """One job, by its id or any unique prefix of 4 or more characters."""
    return job_json(await context.usecases.jobs.get_ticket(caller.person, require_job_id(job_id)))


@router.delete(
    "/jobs/{job_id}",
    status_code=202,
    response_model=JobInfo,
    responses={204: {"description": "With `erase`: the job is gone, or was gone before"}},
)
async def cancel_job(
    job_id: str,
    context: ContextDep,
    caller: CallerDep,
    erase: Annotated[str, Query(description="true: delete the job", json_schema_extra=FLAG)] = "false",
) -> Any:
    """Cancel the job: immediately if it is queued, at the next step if it is running.

    With `erase=true` its words and pictures are deleted as well, whatever its state is, and its chat messages: where
    the platform no longer deletes them, they are emptied. Repeating this does no harm.
    """
    if parse_flag("erase", erase):
        await context.usecases.pictures.erase_job(caller.person, require_job_id(job_id))
        return Response(status_code=204)
    ticket = await context.usecases.jobs.cancel_job(caller.person, require_job_id(job_id))
    return {**job_json(ticket), "cancel_requested": True}


async def _full_job_id(job_id: str, context: ContextDep, caller: CallerDep) -> str:
    """The full id of the caller's job; errors must be raised before the stream starts."""
    return (await context.usecases.jobs.get_ticket(caller.person, require_job_id(job_id))).job.id


def _wants_previews(
    previews: Annotated[
        str, Query(description="false: without previews, which cost device time", json_schema_extra=_ON_FLAG)
    ] = "true",
) -> bool:
    """Raises: InvalidOption."""
    return parse_flag("previews", previews)


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
async def stream_events(
    full_id: Annotated[str, Depends(_full_job_id)],
    wants_previews: Annotated[bool, Depends(_wants_previews)],
    request: Request,
    context: ContextDep,
    caller: CallerDep,
) -> AsyncIterator[ServerSentEvent]:
    """`state` immediately, then `progress` and each new `state`, until `result` or `error`.

    `progress` is `{phase, step, steps, eta_s, preview, text}`, at most twice a second: `preview` is a small picture as
    a `data:` URL, `text` the answer so far, as a whole; null where there is none. `result` replaces both. The event id
    of `state`, `result` and `error` is the job's stored version; `progress` has none. The stream also ends when the key
    that it was opened with is revoked.
    """
    followed = context.usecases.jobs.follow_job(caller.person, full_id, wants_previews=wants_previews)
    job_events = cast("AsyncGenerator[usecases.JobEvent, None]", followed)
    try:
        async with aclosing(job_events), watch_access(request, context, caller) as ended:
            async for event in iterate_until((context.closing, ended), job_events):
                version = None if event.kind == "progress" else str(event.ticket.job.version)
                yield ServerSentEvent(data=event_json(event), event=event.kind, id=version)
    except EaselError as error:
        log.warning("A stream ended early", action="web.stream", job_id=full_id, error=error.code)
