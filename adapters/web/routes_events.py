"""`/api/v1/events`: the changes of all of the caller's jobs, as one stream."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, cast

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from adapters.web.auth import CallerDep, watch_access
from adapters.web.context import ContextDep
from adapters.web.schemas import ProblemInfo
from adapters.web.streams import iterate_until
from adapters.web.views import event_json
from bot.errors import EaselError, InvalidOption
from bot.usecases import JobEvent, PersonEvent

log = structlog.get_logger()

_MAX_DIGITS = 18
_NUMBER = {"type": "integer", "minimum": 0}

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})


def _read_start(
    after: Annotated[str, Query(description="Only what changed after this event id", json_schema_extra=_NUMBER)] = "",
    last_event_id: Annotated[str, Header(description="As `after`; a browser sends it when it reconnects")] = "",
) -> int | None:
    """The header wins: it is newer than the address. Raises: InvalidOption."""
    if _is_number(last_event_id):
        return int(last_event_id)
    if after and not _is_number(after):
        raise InvalidOption("after", "body", allowed="it must be the id of an event")
    return int(after) if after else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


@router.get("/events", response_class=EventSourceResponse)
async def stream_person_events(
    after: Annotated[int | None, Depends(_read_start)], request: Request, context: ContextDep, caller: CallerDep
) -> AsyncIterator[ServerSentEvent]:
    """What happens to all of the caller's jobs, wherever they were made, without an end.

    First `ready`, whose id is where the stream begins; `resumed` is false where it does not continue where `after` or
    `Last-Event-ID` said. Then `state`, `result` and `error`, with the bodies of `GET /jobs/{id}/events` and `job`, the
    job's id; `erased` for a job that was deleted; `progress`, without an id. A job that changed several times may come
    only once, as it is now; one that has ended may come again: a picture of it was deleted, or made a favourite. The
    stream ends when the key or session that it was opened with does.
    """
    events = cast("AsyncGenerator[PersonEvent, None]", context.usecases.events.follow(caller.person, after))
    try:
        async with aclosing(events), watch_access(request, context, caller) as ended:
            async for event in iterate_until((context.closing, ended), events):
                number = None if event.number is None else str(event.number)
                yield ServerSentEvent(data=_to_json(event), event=event.kind, id=number)
    except EaselError as error:
        log.warning("A stream ended early", action="web.stream", error=error.code)


def _to_json(event: PersonEvent) -> dict[str, Any]:
    if event.kind == "ready":
        return {"job": None, "resumed": event.is_resumed}
    body = event_json(JobEvent(kind=event.kind, ticket=event.ticket)) if event.ticket is not None else {}
    return {**(body or {}), "job": event.job_id}
