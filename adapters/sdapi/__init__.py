"""The APIs of AUTOMATIC1111 and SD.Next (`/sdapi/v1`) and of sd-webui-controlnet (`/controlnet`).

Every call that makes something becomes jobs, and its answer waits for them. Progress and interrupts concern the
caller's own calls alone.
"""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.sdapi import routes_controlnet, routes_drawing, routes_images, routes_lists, routes_options
from adapters.sdapi.call import Endpoints
from adapters.sdapi.failures import failure, show_refusal
from adapters.web.context import WebContext
from adapters.web.problems import Problem

_SENTENCES = {404: "There is no such endpoint here.", 405: "This endpoint does not support this method."}


class SdApplication(Starlette):
    def form_problem(self, problem: Problem) -> ASGIApp:
        """A refusal from before it was called."""
        return show_refusal(problem)


def build_sdapi(context: WebContext) -> Starlette:
    """Of what is below `/sdapi`."""
    endpoints = Endpoints(context)
    modules = (routes_drawing, routes_images, routes_options, routes_lists)
    return _build(context, [route for module in modules for route in module.list_routes(endpoints)])


def build_controlnet(context: WebContext) -> Starlette:
    """Of what is below `/controlnet`."""
    return _build(context, routes_controlnet.list_routes(Endpoints(context)))


def _build(context: WebContext, routes: list[Route]) -> Starlette:
    app = SdApplication(routes=routes, exception_handlers={HTTPException: _on_http_error})
    app.state.context = context
    return app


async def _on_http_error(request: Request, error: Exception) -> Response:
    """An unknown path, or a method that it does not have."""
    assert isinstance(error, HTTPException)
    sentence = _SENTENCES.get(error.status_code, error.detail)
    return failure(error.status_code, error.detail, sentence, headers=error.headers)


__all__ = ["build_controlnet", "build_sdapi"]
