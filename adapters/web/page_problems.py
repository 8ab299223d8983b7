"""Error pages for browsers, where a URL has no page or a page fails, instead of the API's JSON.

A navigation names `text/html` in its Accept header; programs and the page's own requests do not.
"""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from adapters.web.context import get_context
from adapters.web.problems import Problem, list_methods, on_http_error, to_problem
from adapters.web.routes_page import render_failure, render_page
from bot import errors

PROGRAM_PATHS = (
    "/api", "/internal", "/v1", "/sdapi", "/controlnet", "/mcp", "/static", "/texts", "/openapi.json", "/metrics",
    "/healthz", "/readyz",
)  # fmt: skip
"""Paths for programs, whatever they accept."""
_MAX_ACCEPT = 1000
_JSON = ("application/json", "application/problem+json")


def is_navigation(scope: Scope) -> bool:
    """Whether a person's browser asks for a page, rather than a program for data."""
    path = scope["path"]
    if any(path == one or path.startswith(f"{one}/") for one in PROGRAM_PATHS):
        return False
    weights = _read_accept(", ".join(Headers(scope=scope).getlist("accept"))[:_MAX_ACCEPT])
    return weights.get("text/html", 0.0) > max(weights.get(kind, 0.0) for kind in _JSON)


def _read_accept(header: str) -> Mapping[str, float]:
    """The media types that an Accept header names, with their weights; a malformed weight is 0."""
    weights = {}
    for part in header.split(","):
        kind, *parameters = (piece.strip().casefold() for piece in part.split(";"))
        given = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        weights[kind] = float(given) if given.replace(".", "", 1).isdecimal() and given.isascii() else 0.0
    return weights


def show_problem(scope: Scope, problem: Problem) -> Response:
    """The problem itself, or for a navigation a document that says the same."""
    return render_failure(Request(scope), problem) if is_navigation(scope) else problem


async def _on_http_error(request: Request, error: Exception) -> Response:
    """A URL without a page serves the page itself, which says so; the status is 404 for programs."""
    assert isinstance(error, HTTPException)
    if not is_navigation(request.scope):
        return await on_http_error(request, error)
    headers = {"Vary": "Accept"}
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = list_methods(request)
    elif error.status_code != HTTPStatus.NOT_FOUND:
        return show_problem(request.scope, Problem("bad_request", "The request is malformed."))
    try:
        return await render_page(request, get_context(request), status=error.status_code, headers=headers)
    except errors.UserError as failure:
        return show_problem(request.scope, to_problem(failure))


async def _on_user_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.UserError)
    return show_problem(request.scope, to_problem(error))


def install_page_handlers(app: FastAPI) -> None:
    """Replaces the handlers of `problems`, which these use for programs."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(errors.UserError, _on_user_error)
