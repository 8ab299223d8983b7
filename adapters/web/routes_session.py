"""`/api/v1/session`: the page exchanges a key for a cookie."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from adapters.web.auth import LOCAL, Caller, CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import FLAG, body_of, parse_flag
from adapters.web.schemas import ProblemInfo, SessionBody, SessionInfo
from adapters.web.session_cookie import clear_cookie, read_session, require_own_page, set_cookie

_BODY = body_of("SessionBody")

_MAX_KIB = 2
"""Of a body that anybody may send."""

router = APIRouter(prefix="/api/v1", tags=["session"], responses={"4XX": {"model": ProblemInfo}})


@router.post("/session", status_code=201, response_model=SessionInfo, openapi_extra=_BODY)
async def begin_session(request: Request, response: Response, context: ContextDep) -> Any:
    """Exchange an API key for a session cookie on `/api/v1`, which expires after 30 days without use. Requests that
    change something with the cookie also need the header `X-Easel: 1`."""
    require_own_page(request.scope, request.headers)
    body = await read_json(request, SessionBody, max_kib=_MAX_KIB)
    replaced = read_session(request.scope, request.headers)
    person, key, token = await context.usecases.sessions.begin(body.key.strip(), replaced)
    set_cookie(response, token, request.scope, request.headers)
    return {"person": person.name, "is_admin": key.is_admin, "via": "session"}


@router.get("/session", response_model=SessionInfo)
async def get_session(request: Request, response: Response, caller: CallerDep) -> Any:
    """The caller and how they are authenticated: session, key or local. Renews the cookie."""
    token = read_session(request.scope, request.headers)
    if caller.session and token is not None:
        set_cookie(response, token, request.scope, request.headers)
    return {"person": caller.person.name, "is_admin": caller.is_admin, "via": _via(caller)}


@router.delete("/session", status_code=204)
async def end_session(
    request: Request,
    response: Response,
    context: ContextDep,
    caller: CallerDep,
    everywhere: Annotated[
        str, Query(description="true: all sessions of the caller, in every browser", json_schema_extra=FLAG)
    ] = "false",
) -> None:
    """End the session, and the event streams that were opened with it. Without one, nothing happens.

    With `everywhere=true` all sessions of all keys of the caller end; the keys stay valid.
    """
    token = read_session(request.scope, request.headers)
    if parse_flag("everywhere", everywhere):
        await context.usecases.sessions.end_all(caller.person)
    elif caller.session and token is not None:
        await context.usecases.sessions.end(token)
    clear_cookie(response, request.scope, request.headers)


def _via(caller: Caller) -> str:
    if caller.session:
        return "session"
    return "local" if caller.key == LOCAL else "key"
