"""Errors as `application/problem+json` (RFC 9457), each with a stable `code`.

Internal errors are logged under an incident id; their details are never sent to the client.
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
from starlette.routing import Match

from bot import errors
from bot.error_texts import explain
from bot.problem_texts.link_problems import LinkRefused

log = structlog.get_logger()

CODES: Mapping[str, tuple[int, str]] = {
    "invalid_option": (422, "Invalid option"),
    "quota_exceeded": (429, "Daily quota exceeded"),
    "queue_full": (429, "Too many unfinished jobs"),
    "too_many_requests": (429, "Too many requests under way"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "idempotency_conflict": (409, "Idempotency key used for another request"),
    "not_cancellable": (409, "Too late to cancel"),
    "too_large": (413, "Too large"),
    "unsupported_media": (415, "Unsupported media type"),
    "unauthorized": (401, "API key required"),
    "blocked": (403, "Not allowed"),
    "no_answer": (422, "No answer"),
    "forbidden": (403, "Admins only"),
    "link_refused": (409, "Accounts not linked"),
    "model_refused": (409, "Model cannot be used"),
    "training_refused": (409, "Cannot be trained"),
    "plugin_refused": (409, "Plugin not switched"),
    "plugin_failed": (502, "Plugin failed"),
    "download_failed": (502, "Model download failed"),
    "storage_full": (507, "Disk full"),
    "storage_busy": (503, "Database busy"),
    "shutting_down": (503, "Server restarting"),
    "bad_request": (400, "Malformed request"),
    "internal": (500, "Internal error"),
}
"""Status and title of every `code`; listed on `/docs`."""

MAX_DETAIL = 600
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class RequestRefused(Exception):
    """A request refused for a reason that exists only in HTTP."""

    def __init__(self, code: str, sentence: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


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
        self.code, self.detail = code, str(content["detail"])


def to_problem(error: errors.UserError) -> Problem:
    """The problem that describes `error` to the client."""
    code = error.code if error.code in CODES else "blocked"
    headers = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, int(retry_after_s)))
    if code == "unauthorized":
        headers["WWW-Authenticate"] = 'Bearer realm="Easel"'
    return Problem(code, explain(error), headers=headers, **_extra_fields(error))


def _extra_fields(error: errors.UserError) -> dict[str, Any]:
    match error:
        case errors.InvalidOption():
            hints = {"allowed": error.allowed, "nearest": error.nearest}
            return {"option": error.option, **{name: value for name, value in hints.items() if value}}
        case errors.UnknownCommand():
            return {"option": "command", "allowed": ", ".join(error.known)}
        case errors.QuotaExceeded():
            resets_at = error.resets_at.isoformat()
            return {"limit": error.limit, "left": error.left, "cost": error.cost, "resets_at": resets_at}
        case errors.UploadQuotaExceeded():
            return {"limit": round(error.limit_mb, 1), "used": round(error.used_mb, 1), "unit": "MiB"}
        case errors.QueueFull():
            return {"limit": error.limit}
        case errors.TooLarge():
            heic = {"heic_limit": error.heic_limit} if error.heic_limit > error.limit else {}
            return {"limit": error.limit, "unit": error.unit, **heic}
        case errors.NotCancellable():
            return {"state": error.state}
        case LinkRefused():
            return {"problem": error.problem}
    return {}


def incident_problem(error: BaseException, request_line: str) -> Problem:
    """Log the error with its traceback; the client gets the incident id that identifies it."""
    incident = secrets.token_hex(4)
    log.error("A request failed", action="web.failed", incident=incident, request=request_line, exc_info=error)
    sentence = explain(errors.EaselError(), incident=incident)
    return Problem("internal", sentence, instance=f"urn:easel:incident:{incident}", incident=incident)


async def _on_request_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    return Problem(error.code, error.sentence, headers=error.headers)


async def _on_user_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.UserError)
    return to_problem(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors: unknown route, wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem("not_found", "There is no such URL.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = {"Allow": list_methods(request)}
        return Problem("method_not_allowed", "This URL does not support this method.", headers=allow)
    return Problem("bad_request", "The request is malformed.")


def list_methods(request: Request) -> str:
    """The methods of all routes with this path; Starlette names those of the first one only."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    allowed = [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]
    return ", ".join(allowed)


async def _on_wrong_parameter(_request: Request, error: Exception) -> Response:
    """An invalid query or path parameter."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return to_problem(errors.InvalidOption(name, "body", allowed=str(first["msg"])))


def install_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestRefused, _on_request_refused)
    app.add_exception_handler(errors.UserError, _on_user_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_parameter)
