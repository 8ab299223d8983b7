"""The page, the API docs and monitoring: `/`, `/docs`, `/healthz`, `/readyz`, `/metrics`."""

import hmac
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.templating import Jinja2Templates

from adapters.web.auth import get_caller, read_bearer, require_admin, require_local_request
from adapters.web.context import ContextDep, WebContext
from adapters.web.page_files import STATIC, PageFiles
from adapters.web.problems import CODES, Problem
from bot.error_texts import explain
from bot.errors import Unauthorized
from bot.i18n import has_catalogue, list_translations, translator
from bot.jobs import JobState
from bot.usecases import Operations

templates = Jinja2Templates(Path(__file__).parent / "templates")
router = APIRouter(include_in_schema=False)
_NO_CACHE = {"Cache-Control": "no-cache"}


PAGES = {
    "/": "create", "/gallery": "gallery", "/queue": "queue", "/p/{job}/{number}": "viewer", "/edit/{media}": "edit",
    "/models": "models", "/admin": "admin",
}  # fmt: skip
"""The URLs of the page, with the folder of static files that each view needs first."""
MISSING = "missing"
"""The folder of the view of every other address."""
THEMES = ("light", "dark")
_MAX_LANGUAGES = 20


async def get_page(request: Request, context: ContextDep) -> Response:
    """The same document at every URL of the page; the browser chooses the view."""
    return await render_page(request, context)


async def render_page(
    request: Request, context: WebContext, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    media, files = context.usecases.media, get_files(request)
    route = request.scope.get("route")
    values = {
        "files": files,
        "styles": " ".join(name.removesuffix(".css") for name in files.files if name.endswith(".css")),
        "folder": PAGES.get(getattr(route, "path", ""), MISSING),
        "language": _choose_language(request.headers.get("accept-language", "")),
        "theme": _read_theme(request),
        "needs_key": await context.needs_key(),
        "max_upload_mb": media.max_upload_mb,
        "max_file_mb": media.max_file_mb,
        "too_large": explain(media.too_large()),
    }
    all_headers = {**_NO_CACHE, **(headers or {})}
    return templates.TemplateResponse(request, "page.html", values, status_code=status, headers=all_headers)


def render_failure(request: Request, problem: Problem) -> Response:
    """A document that needs neither scripts nor the database."""
    language = _choose_language(request.headers.get("accept-language", ""))
    translate = translator(language)
    values = {
        "files": get_files(request),
        "language": language,
        "theme": _read_theme(request),
        "title": translate("This page could not be loaded"),
        "detail": problem.detail,
        "try_again": translate("Try again"),
        "create": translate("Create"),
    }
    kept = {name: value for name, value in problem.headers.items() if name in ("retry-after", "www-authenticate")}
    headers = {"Cache-Control": "no-store", "Vary": "Accept", **kept}
    return templates.TemplateResponse(request, "failure.html", values, status_code=problem.status_code, headers=headers)


def _read_theme(request: Request) -> str | None:
    theme = request.cookies.get("easel-theme")
    return theme if theme in THEMES else None


def _choose_language(accepted: str) -> str:
    """The first language of an Accept-Language header that has a catalogue; else English."""
    for part in accepted.split(",")[:_MAX_LANGUAGES]:
        language = part.partition(";")[0].strip()
        if language.casefold().partition("-")[0] == "en":
            break
        if language and has_catalogue(language):
            return language
    return "en"


for _path in PAGES:
    router.add_api_route(_path, get_page, methods=["GET", "HEAD"])


def get_files(request: Request) -> PageFiles:
    files: PageFiles = request.app.state.page_files
    return files


@router.api_route("/static/{version}", methods=["GET", "HEAD"])
@router.api_route("/static/{version}/{path:path}", methods=["GET", "HEAD"])
async def get_static(request: Request, version: str, path: str = "") -> Response:
    """A file of this version of the page. One of another version does not fit its other files: 404."""
    files = get_files(request)
    response = files.respond(request, path) if version == files.version else None
    if response is None:
        raise HTTPException(404)
    return response


@router.get("/texts/{language}")
async def get_texts(language: str) -> dict[str, str | list[str]]:
    """The sentences of the page in another language, by the English ones."""
    return list_translations(language)


@router.get("/manifest.webmanifest")
async def get_manifest(request: Request) -> Response:
    """Lets phones install the page."""
    base = get_files(request).base
    icons = [
        {"src": f"{base}favicon.svg", "sizes": "any", "type": "image/svg+xml"},
        {"src": f"{base}touch-icon.png", "sizes": "180x180", "type": "image/png"},
        {"src": f"{base}maskable-icon.png", "sizes": "512x512", "type": "image/png", "purpose": "any maskable"},
    ]
    manifest = {
        "name": "Easel", "short_name": "Easel", "start_url": "/", "scope": "/", "display": "standalone",
        "background_color": "#f6f5f3", "theme_color": "#f6f5f3", "icons": icons,
    }  # fmt: skip
    return JSONResponse(manifest, headers=_NO_CACHE, media_type="application/manifest+json")


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    return templates.TemplateResponse(
        request, "docs.html", {"codes": CODES, "files": get_files(request)}, headers=_NO_CACHE
    )


@router.get("/favicon.ico")
async def get_favicon() -> Response:
    return FileResponse(
        STATIC / "icons" / "favicon.svg", media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"}
    )


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def get_healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def get_readyz(request: Request, context: ContextDep) -> Response:
    """The database responds and a worker is ready. Only admins see details, including the platforms."""
    checks = await context.usecases.operations.check_readiness()
    is_ready = all(check.is_ok for check in checks if check.is_required) and not context.closing.is_set()
    if not await _is_admin(request, context):
        return Response(status_code=200 if is_ready else 503, headers={"Cache-Control": "no-store"})
    content = {
        "ready": is_ready,
        "checks": {
            check.name: {
                "ok": check.is_ok,
                "required": check.is_required,
                "sentence": check.sentence,
                "details": dict(check.details),
            }
            for check in checks
        },
    }
    return JSONResponse(content, 200 if is_ready else 503, {"Cache-Control": "no-store"})


@router.get("/metrics")
async def get_metrics(request: Request, context: ContextDep) -> Response:
    """Prometheus metrics, without prompts or names."""
    await _require_metrics_access(request, context)
    text = generate_latest(context.metrics.registry) + generate_latest(await _MetricsSnapshot.take(context))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _is_admin(request: Request, context: WebContext) -> bool:
    try:
        return (await get_caller(request, context, None)).is_admin
    except Unauthorized:
        return False


async def _require_metrics_access(request: Request, context: WebContext) -> None:
    """Accept `web.metrics_token`, an admin's key, and without a token any program on this machine.

    Raises: Unauthorized, AdminsOnly.
    """
    token, shown = context.settings.metrics_token, read_bearer(request)
    if token and shown and hmac.compare_digest(shown.encode("utf-8", "replace"), token.encode()):
        return
    if shown is None and not token and context.is_private:
        require_local_request(request, context)
        return
    require_admin(await get_caller(request, context, None))


class _MetricsSnapshot:
    """The current state of the queue and devices, as a registry for prometheus_client."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families

    @classmethod
    async def take(cls, context: WebContext) -> "_MetricsSnapshot":
        operations: Operations = context.usecases.operations
        counts = await operations.count_by_state()
        jobs = GaugeMetricFamily("easel_jobs", "Jobs by state", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state, 0))
        return cls([jobs, *_device_families(operations)])


def _device_families(operations: Operations) -> list[Metric]:
    is_ready = GaugeMetricFamily("easel_device_ready", "Whether the device accepts jobs", labels=["device"])
    running = GaugeMetricFamily("easel_device_running", "Jobs running on the device", labels=["device"])
    restarts = CounterMetricFamily("easel_device_restarts", "Restarts of the worker process", labels=["device"])
    memory = GaugeMetricFamily("easel_device_memory_bytes", "Memory used by the worker process", labels=["device"])
    loaded = GaugeMetricFamily("easel_model_loaded", "Models loaded on the device", labels=["device", "model"])
    for status in operations.devices():
        is_ready.add_metric([status.device], float(status.state == "ready"))
        running.add_metric([status.device], status.running)
        restarts.add_metric([status.device], status.restarts)
        memory.add_metric([status.device], status.memory_mb * 2**20)
        for model in status.loaded:
            loaded.add_metric([status.device, model], 1.0)
    return [is_ready, running, restarts, memory, loaded]
