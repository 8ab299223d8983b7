"""Builds the FastAPI application of the web adapter."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.web import (
    problems,
    routes_about,
    routes_admin,
    routes_collections,
    routes_corrections,
    routes_embeddings,
    routes_events,
    routes_export,
    routes_internal,
    routes_jobs,
    routes_links,
    routes_media,
    routes_metrics,
    routes_names,
    routes_operation,
    routes_page,
    routes_pictures,
    routes_plugins,
    routes_recipes,
    routes_session,
    routes_training,
    routes_webhooks,
)
from adapters.web.context import WebContext
from adapters.web.correction_schemas import CorrectionBody
from adapters.web.cross_origin import CrossOriginMiddleware
from adapters.web.embedding_schemas import EmbeddingBody
from adapters.web.measuring import MeasuringMiddleware
from adapters.web.middleware import FormProblem, GuardMiddleware, KeyLimitMiddleware, LingeringCloseMiddleware
from adapters.web.page_files import load_page_files
from adapters.web.page_problems import install_page_handlers
from adapters.web.plugin_schemas import PluginBody
from adapters.web.schemas import (
    AdminKeyBody,
    CollectionBody,
    ExportBody,
    ForgetBody,
    JobBody,
    LinkBody,
    QuotaBody,
    ReportActionBody,
    SessionBody,
)

DESCRIPTION = (
    "Generate images, captions and answers. Every request becomes a job: POST it, follow its events, get its result."
)
BODIES = (
    JobBody, ExportBody, CollectionBody, LinkBody, SessionBody, AdminKeyBody, QuotaBody, ReportActionBody, ForgetBody,
    CorrectionBody, EmbeddingBody, PluginBody,
)  # fmt: skip
"""Read by the routes themselves, so that OpenAPI does not find them."""


BuildMount = Callable[[WebContext], ASGIApp]
"""Builds an application of its own for all below a path. It answers errors in its own form; its method `form_problem`,
if it has one, gives that form to a problem."""


def build_app(context: WebContext, mounts: Mapping[str, BuildMount] = MappingProxyType({})) -> FastAPI:
    """`mounts`: by path, such as "/v1"."""
    app = FastAPI(title="Easel", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.context = context
    app.state.page_files = load_page_files()
    problems.install_handlers(app)
    install_page_handlers(app)
    for routes in (
        routes_jobs, routes_events, routes_pictures, routes_media, routes_export, routes_about, routes_admin,
        routes_internal, routes_collections, routes_corrections, routes_page, routes_recipes, routes_names,
        routes_session, routes_operation, routes_links, routes_training, routes_embeddings, routes_plugins,
        routes_metrics, routes_webhooks,
    ):  # fmt: skip
        app.include_router(routes.router)
    app.include_router(routes_admin.models_router)
    forms: dict[str, FormProblem] = {}
    for path, build in mounts.items():
        mounted = build(context)
        forms |= {path: mounted.form_problem} if hasattr(mounted, "form_problem") else {}
        app.router.routes.append(Route(path, mounted, include_in_schema=False))  # a mount has only what is below it
        app.mount(path, mounted)
    app.add_middleware(
        KeyLimitMiddleware,
        limit=context.settings.max_requests_per_key,
        find_key=context.usecases.people.find_key_name,
        find_session=context.usecases.sessions.find_name,
        forms=forms,
    )
    if context.settings.allowed_origins:
        app.add_middleware(CrossOriginMiddleware, origins=context.settings.allowed_origins, paths=mounts)
    app.add_middleware(GuardMiddleware)
    app.add_middleware(MeasuringMiddleware, metrics=context.metrics.http, mounts=mounts)
    app.add_middleware(LingeringCloseMiddleware)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's schema, plus the request bodies that the routes parse themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        for kind in BODIES:
            body = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(body.pop("$defs", {}))
            schemas[kind.__name__] = body
        _describe_problems(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _describe_problems(schema: dict[str, Any]) -> None:
    """Documents every error as a problem, including invalid parameters, for which FastAPI has its own schema."""
    problem = {"$ref": "#/components/schemas/ProblemInfo"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if "4XX" in operation["responses"]:
                operation["responses"]["4XX"]["content"] = {"application/problem+json": {"schema": problem}}
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
