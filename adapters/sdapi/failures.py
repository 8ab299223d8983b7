"""Errors in AUTOMATIC1111's form: `error`, `detail`, `body` and `errors`. Internal ones have an incident id alone."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapters.web.client_calls import JobFailed
from adapters.web.problems import CODES, Problem, RequestRefused, incident_problem, to_problem
from bot import errors

_FIELD_NAMES: Mapping[str, str] = {
    "guidance_scale": "cfg_scale",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "strength": "denoising_strength",
    "hires": "hr_scale",
    "variation_seed": "subseed",
    "variation_strength": "subseed_strength",
    "model": "sd_model_checkpoint",
    "start": "guidance_start",
    "end": "guidance_end",
}
"""What an option is called in requests of this API."""
_STATUSES: Mapping[str, int] = {"blocked": 422, "cancelled": 409}
"""Where they differ from REST, or it has none. A blocked picture is no lack of rights, for which programs would ask for
a password."""


def failure_response(error: Exception, request: Request) -> Response:
    """The answer to a call that failed; an unexpected error is logged."""
    match error:
        case errors.UserError():
            problem = to_problem(_with_field_name(error))
            return _from_problem(problem, _code_of(error))
        case RequestRefused():
            return failure(CODES[error.code][0], error.code, error.sentence, headers=error.headers)
        case JobFailed():
            known = CODES.get(error.code, (HTTPStatus.INTERNAL_SERVER_ERROR, ""))[0]
            return failure(_STATUSES.get(error.code, known), error.code, error.sentence)
    problem = incident_problem(error, f"{request.method} {request.scope['path']}")
    return _from_problem(problem, "internal")


def show_refusal(problem: Problem) -> Response:
    """A problem in the form of this API."""
    return _from_problem(problem, problem.code)


def failure(status: int, code: str, sentence: str, *, headers: Mapping[str, str] | None = None) -> Response:
    content = {"error": code, "detail": sentence, "body": "", "errors": sentence}
    return JSONResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})


def _from_problem(problem: Problem, code: str) -> Response:
    kept = {name: problem.headers[name] for name in ("Retry-After",) if name in problem.headers}
    if code == "unauthorized":
        kept["WWW-Authenticate"] = 'Basic realm="Easel: any name, an API key as password"'
    return failure(_STATUSES.get(code, problem.status_code), code, problem.detail, headers=kept)


def _code_of(error: errors.UserError) -> str:
    return error.code if error.code in CODES else "blocked"


def _with_field_name(error: errors.UserError) -> errors.UserError:
    if type(error) is not errors.InvalidOption or error.option not in _FIELD_NAMES:
        return error
    said: dict[str, Any] = {name: getattr(error, name) for name in ("value", "allowed", "nearest")}
    return errors.InvalidOption(_FIELD_NAMES[error.option], error.problem, **said)
