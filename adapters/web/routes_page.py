"""The page, the API docs and monitoring: `/`, `/docs`, `/healthz`, `/readyz`."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.templating import Jinja2Templates

from adapters.web.auth import get_caller
from adapters.web.context import ContextDep, WebContext
from adapters.web.page_files import STATIC, PageFiles
from adapters.web.problems import CODES, Problem
from bot.error_texts import explain
from bot.errors import Unauthorized
from bot.i18n import has_catalogue, list_translations, translator

templates = Jinja2Templates(Path(__file__).parent / "templates")
router = APIRouter(include_in_schema=False)
_NO_CACHE = {"Cache-Control": "no-cache"}


PAGES = {
    "/": "create", "/gallery": "gallery", "/queue": "queue", "/p/{job}/{number}": "viewer", "/edit/{media}": "edit",
    "/grid/{batch}": "grids", "/models": "models", "/admin": "admin",
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


async def _is_admin(request: Request, context: WebContext) -> bool:
    try:
        return (await get_caller(request, context, None)).is_admin
    except Unauthorized:
        return False
