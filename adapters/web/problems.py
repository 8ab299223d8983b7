"""Refusals as `application/problem+json` (RFC 9457), each with a stable `code`.

What went wrong inside is logged under an incident id and never shown.
"""

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bot import errors
from bot.error_texts import explain

log = structlog.get_logger()

CODES: Mapping[str, tuple[int, str]] = {
    "invalid_option": (422, "An option is wrong"),
    "quota_exceeded": (429, "Today's allowance is spent"),
    "queue_full": (429, "Too many unfinished jobs"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Not possible here"),
    "idempotency_conflict": (409, "The key came before with another request"),
    "not_cancellable": (409, "Too late to cancel"),
    "too_large": (413, "Too large"),
    "unsupported_media": (415, "Not a picture that is read here"),
    "unauthorized": (401, "A key is needed"),
    "blocked": (403, "Not allowed"),
    "forbidden": (403, "For admins"),
    "model_refused": (409, "The model is not taken"),
    "download_failed": (502, "The model cannot be fetched"),
    "storage_full": (507, "The disk is full"),
    "storage_busy": (503, "The database is busy"),
    "shutting_down": (503, "The server is restarting"),
    "bad_request": (400, "The request cannot be read"),
    "internal": (500, "Something went wrong"),
}
"""Every `code` with its status and title; `/docs` lists them."""

MAX_DETAIL = 600


class Refused(Exception):
    """A refusal that only HTTP knows."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Problem(Response):
    media_type = "application/problem+json"

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        status, title = CODES[code]
        content = {
            "type": f"/docs#{code}",
            "title": title,
            "status": status,
            "detail": detail if len(detail) <= MAX_DETAIL else f"{detail[: MAX_DETAIL - 1]}…",
            "code": code,
            **more,
        }
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        super().__init__(body, status, headers)


def problem_of(error: errors.UserError) -> Problem:
    """The problem that tells a client what it may know of `error`."""
    code = error.code if error.code in CODES else "blocked"
    headers = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, int(retry_after_s)))
    if code == "unauthorized":
        headers["WWW-Authenticate"] = 'Bearer realm="Easel"'
    return Problem(code, explain(error), headers=headers, **_details(error))


def _details(error: errors.UserError) -> dict[str, Any]:
    match error:
        case errors.InvalidOption():
            known = {"allowed": error.allowed, "nearest": error.nearest}
            return {"option": error.option, **{name: value for name, value in known.items() if value}}
        case errors.UnknownCommand():
            return {"option": "command", "allowed": ", ".join(error.known)}
        case errors.QuotaExceeded():
            resets_at = error.resets_at.isoformat()
            return {"limit": error.limit, "left": error.left, "cost": error.cost, "resets_at": resets_at}
        case errors.QueueFull():
            return {"limit": error.limit}
        case errors.TooLarge():
            return {"limit": error.limit, "unit": error.unit}
        case errors.NotCancellable():
            return {"state": error.state}
    return {}


def incident_of(error: BaseException, request_line: str) -> Problem:
    """Log what happened with its traceback; the client gets the code that finds it."""
    incident = secrets.token_hex(4)
    log.error("A request failed", action="web.failed", incident=incident, request=request_line, exc_info=error)
    sentence = explain(errors.EaselError(), incident=incident)
    return Problem("internal", sentence, instance=f"urn:easel:incident:{incident}", incident=incident)


async def _on_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Problem(error.code, error.sentence)


async def _on_user_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.UserError)
    return problem_of(error)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    """The framework's own: no such route, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem("not_found", "There is nothing at this address.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem("method_not_allowed", "This address does not take this method.", headers=error.headers)
    return Problem("bad_request", "The request cannot be read.")


async def _on_wrong_parameter(_request: Request, error: Exception) -> Response:
    """A query or path parameter that the framework could not read."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return problem_of(errors.InvalidOption(name, "body", allowed=str(first["msg"])))


def install(app: FastAPI) -> None:
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(errors.UserError, _on_user_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_parameter)
