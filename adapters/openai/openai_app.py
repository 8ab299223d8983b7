"""The application below `/v1`: its endpoints, who may use them, and errors in OpenAI's form."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.openai import chat_routes, embedding_routes, image_orders, image_routes, model_routes, response_routes
from adapters.openai.openai_errors import ErrorAnswer, to_answer
from adapters.web.auth import get_client_caller, read_bearer
from adapters.web.client_calls import ClientCall
from adapters.web.context import WebContext
from adapters.web.problems import Problem, RequestRefused

PREFIX = "/v1"
CLIENT = "openai"


@dataclass(frozen=True)
class Endpoint:
    """`params`: OpenAI's names of our options, for errors."""

    method: str
    path: str
    handle: Callable[[ClientCall], Awaitable[Response]]
    params: Mapping[str, str] = field(default_factory=dict)


ENDPOINTS = (
    Endpoint("GET", "/models", model_routes.list_models),
    Endpoint("GET", "/models/", model_routes.list_models),
    Endpoint("GET", "/models/{model:path}", model_routes.get_model),
    Endpoint("GET", "/media/{media_id}", model_routes.get_media),
    Endpoint("POST", "/images/generations", image_routes.generate_images, image_orders.PARAMS),
    Endpoint("POST", "/images/edits", image_routes.edit_images, image_orders.PARAMS),
    Endpoint("POST", "/images/variations", image_routes.vary_images, image_orders.PARAMS),
    Endpoint("POST", "/chat/completions", chat_routes.complete_chat, chat_routes.PARAMS),
    Endpoint("POST", "/responses", response_routes.create_response, response_routes.PARAMS),
    Endpoint("GET", "/responses/{response_id}", response_routes.retrieve_response, response_routes.PARAMS),
    Endpoint("POST", "/embeddings", embedding_routes.create_embeddings, embedding_routes.PARAMS),
)


class OpenAIApplication(Starlette):
    def __init__(self, context: WebContext) -> None:
        routes = [
            Route(endpoint.path, _Handler(context, endpoint), methods=[endpoint.method], name=endpoint.path)
            for endpoint in ENDPOINTS
        ]
        super().__init__(routes=routes, exception_handlers={HTTPException: _on_http_error})
        self.state.context = context

    def form_problem(self, problem: Problem) -> ASGIApp:
        """A refusal from before it was called."""
        seconds = problem.headers.get("Retry-After")
        error = RequestRefused(problem.code, problem.detail, retry_after_s=int(seconds) if seconds else None)
        return to_answer(error, {}).respond()


def build_app(context: WebContext) -> ASGIApp:
    return OpenAIApplication(context)


class _Handler:
    """One endpoint as an ASGI application."""

    def __init__(self, context: WebContext, endpoint: Endpoint) -> None:
        self._context = context
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._endpoint  # metrics name its path
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            caller = await get_client_caller(request, self._context, read_bearer(request) or "")
            call = ClientCall(request=request, context=self._context, caller=caller, client=CLIENT)
            return await self._endpoint.handle(call)
        except Exception as error:
            return to_answer(error, self._endpoint.params).respond()


async def _on_http_error(request: Request, error: Exception) -> Response:
    """A path or method that is not there. Reading the body first would tell nobody more."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"[:80]
    paths = (f"{one.method} {PREFIX}{one.path}".replace(":path", "") for one in ENDPOINTS)
    known = ", ".join(path for path in paths if not path.endswith("/"))
    message = f"Easel does not have {asked}. It has {known}."
    answer = ErrorAnswer(status=error.status_code, message=message, code="unknown_url")
    return answer.respond(error.headers)
