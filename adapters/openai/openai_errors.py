"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`.

Clients try again after 408, 409, 429 and 5xx, unless `x-should-retry` says otherwise: none of our codes is a 409, and
what cannot succeed on another try says so.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from adapters.web.client_calls import JobFailed
from adapters.web.problems import MAX_DETAIL, RequestRefused
from bot import errors
from bot.error_texts import explain
from bot.options import clean_excerpt

log = structlog.get_logger()

INVALID, SERVER = "invalid_request_error", "server_error"
_RETRY, _NO_RETRY = "true", "false"
_MAX_NAME = 60


@dataclass(frozen=True)
class _Kind:
    """`retry`: of `x-should-retry`; empty: as clients do for the status."""

    status: int
    type: str
    code: str
    retry: str = ""


_INVALID = _Kind(400, INVALID, "invalid_value")
_ENGINE = _Kind(500, SERVER, "", _NO_RETRY)
_FORBIDDEN = _Kind(403, INVALID, "forbidden")
_KINDS: Mapping[str, _Kind] = {
    "invalid_option": _INVALID,
    "quota_exceeded": _Kind(429, "insufficient_quota", "insufficient_quota", _NO_RETRY),
    "queue_full": _Kind(429, "rate_limit_error", "rate_limit_exceeded", _RETRY),
    "too_many_requests": _Kind(429, "rate_limit_error", "rate_limit_exceeded", _RETRY),
    "not_found": _Kind(404, INVALID, "not_found"),
    "too_large": _Kind(413, INVALID, "too_large"),
    "unsupported_media": _Kind(400, INVALID, "invalid_image"),
    "unauthorized": _Kind(401, INVALID, "invalid_api_key"),
    "forbidden": _FORBIDDEN,
    "blocked": _Kind(400, "image_generation_user_error", "content_policy_violation"),
    "no_answer": _Kind(422, INVALID, "no_answer"),
    "cancelled": _Kind(400, INVALID, "cancelled"),
    "storage_full": _Kind(503, SERVER, "storage_full", _NO_RETRY),
    "storage_busy": _Kind(503, SERVER, "storage_busy", _RETRY),
    "shutting_down": _Kind(503, SERVER, "shutting_down", _RETRY),
}
_PERSONAL = frozenset({"person", "others", "admins", "no_classifier", "no_check"})
"""Reasons of a `Blocked` that no other prompt changes."""


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """What a client gets for an error."""

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def respond(self, headers: Mapping[str, str] | None = None) -> Response:
        """In ASCII: a message may repeat what was sent, such as half of a surrogate pair."""
        content = json.dumps(self.body).encode()
        return Response(content, self.status, {**(headers or {}), **self.headers}, "application/json")


class ModelNotFound(Exception):
    def __init__(self, name: str, known: str) -> None:
        super().__init__(name)
        self.answer = ErrorAnswer(
            status=404,
            message=f"There is no model \u201c{name}\u201d. Models here: {known}.",
            param="model",
            code="model_not_found",
        )


class ResponseNotFound(Exception):
    def __init__(self, name: str, param: str | None) -> None:
        super().__init__(name)
        shown = clean_excerpt(name, _MAX_NAME)
        self.answer = ErrorAnswer(
            status=404, message=f"You have no response called {shown}.", param=param, code="not_found"
        )


def to_answer(error: Exception, params: Mapping[str, str]) -> ErrorAnswer:
    """`params`: the names that the API has for options. Raises: ClientDisconnect, which nobody can be answered."""
    match error:
        case ClientDisconnect():
            raise error
        case ModelNotFound() | ResponseNotFound():
            return error.answer
        case JobFailed():
            return _of_kind(_KINDS.get(error.code, _ENGINE), error.sentence, code=error.code)
        case RequestRefused():
            seconds = error.headers.get("Retry-After")
            kind = _KINDS.get(error.code, _INVALID)
            return _of_kind(kind, str(error), retry_after_s=int(seconds) if seconds else None)
        case errors.InvalidOption():
            return _invalid_option(error, params)
        case errors.UserError():
            kind = _KINDS.get(error.code, _INVALID)
            if isinstance(error, errors.Blocked) and error.reason in _PERSONAL:
                kind = _FORBIDDEN
            return _of_kind(kind, explain(error), retry_after_s=getattr(error, "retry_after_s", None))
    return _of_incident(error)


def _invalid_option(error: errors.InvalidOption, params: Mapping[str, str]) -> ErrorAnswer:
    """With the option's name in this API, in the sentence as well."""
    param = params.get(error.option, error.option)
    if isinstance(error, errors.NoModel):
        return ErrorAnswer(status=404, message=explain(error), param="model", code="model_not_found")
    renamed = errors.InvalidOption(
        param, error.problem, value=error.value, allowed=error.allowed, nearest=error.nearest
    )
    code = "missing_required_parameter" if error.problem in ("missing", "empty") else _INVALID.code
    return ErrorAnswer(status=400, message=_shortened(explain(renamed)), param=param, code=code)


def _of_kind(kind: _Kind, message: str, *, code: str = "", retry_after_s: float | None = None) -> ErrorAnswer:
    headers = {"x-should-retry": kind.retry} if kind.retry else {}
    if retry_after_s is not None:
        seconds = max(1, int(retry_after_s))
        headers |= {"Retry-After": str(seconds), "retry-after-ms": str(1000 * seconds)}
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Easel"'
    return ErrorAnswer(
        status=kind.status, message=_shortened(message), type=kind.type, code=kind.code or code, headers=headers
    )


def _of_incident(error: Exception) -> ErrorAnswer:
    """The log has the error with its traceback; the client gets the incident id that identifies it."""
    incident = secrets.token_hex(4)
    if isinstance(error, errors.EngineError):
        log.warning("A task of a request failed", action="openai.engine", incident=incident, exc_info=error)
        return _of_kind(_ENGINE, explain(error, incident=incident), code=error.code)
    log.error("A request failed", action="web.failed", incident=incident, request="/v1", exc_info=error)
    return ErrorAnswer(
        status=500, message=explain(errors.EaselError(), incident=incident), type=SERVER, code="internal"
    )


def _shortened(message: str) -> str:
    return message if len(message) <= MAX_DETAIL else f"{message[: MAX_DETAIL - 1]}…"
