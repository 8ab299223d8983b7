"""Puts the web adapter together: one FastAPI application over one house."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from adapters.web import problems, routes_about, routes_admin, routes_internal, routes_jobs, routes_media, routes_page
from adapters.web.context import House
from adapters.web.middleware import Guard, Linger
from adapters.web.schemas import JobBody

DESCRIPTION = (
    "Ask for pictures, captions and answers. Every request becomes a job: POST it, follow its events, fetch its result."
)


def build_app(house: House) -> FastAPI:
    app = FastAPI(title="Easel", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.house = house
    problems.install(app)
    for room in (routes_jobs, routes_media, routes_about, routes_admin, routes_internal, routes_page):
        app.include_router(room.router)
    app.include_router(routes_admin.models_router)
    app.mount("/static", routes_page.FreshFiles(directory=routes_page.STATIC), name="static")
    app.add_middleware(Guard, figures=house.figures)
    app.add_middleware(Linger)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own, with the bodies that the routes read themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        body = JobBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"]["schemas"]
        schemas.update(body.pop("$defs", {}))
        schemas["JobBody"] = body
        app.openapi_schema = schema
    return app.openapi_schema
