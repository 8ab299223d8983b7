"""`/api/v1/media`: uploads and downloads of images."""

import asyncio
import re
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from adapters.web.auth import Caller, CallerDep, is_local_secret, read_bearer
from adapters.web.context import ContextDep, WebContext
from adapters.web.schemas import MediaInfo, ProblemInfo
from adapters.web.views import MEDIA_URL, media_json
from bot.errors import MediaNotFound
from bot.jobs import StoredImage
from bot.ports import MediaStream
from bot.usecases.recalled import fit_settings
from bot.usecases.thumbnails import WIDTHS, parse_width

SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
_ID = re.compile(r"[0-9a-f]{64}")
_WIDTH = {
    "name": "w",
    "in": "query",
    "required": False,
    "schema": {"type": "integer", "enum": list(WIDTHS)},
    "description": "A WebP at most so wide, never enlarged, instead of the image itself",
}
_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

router = APIRouter(prefix="/api/v1", tags=["media"], responses={"4XX": {"model": ProblemInfo}})


@router.post("/media", status_code=201, response_model=MediaInfo, openapi_extra=_FILE)
async def upload_image(request: Request, response: Response, context: ContextDep, caller: CallerDep) -> Any:
    """Upload a PNG, JPEG, WebP, AVIF, HEIC, GIF, TIFF or BMP image. It is stored upright and without its metadata."""
    await context.usecases.media.check_allowance(caller.person)
    async with context.uploads.receive(request, caller.person.id) as data:
        source = caller.client or _source_of(request, context)
        image = await context.usecases.media.upload(caller.person, data, source=source)
    response.headers["Location"] = f"{MEDIA_URL}{image.id}"
    fitted = None
    if image.parameters is not None:
        models, list_addons = context.usecases.models, context.usecases.catalogue.list_addons
        fitted = await asyncio.to_thread(fit_settings, image.parameters, models, list_addons)
    return media_json(image, fitted)


def _source_of(request: Request, context: ContextDep) -> str:
    """The command line shows the lock file's secret."""
    return "cli" if is_local_secret(context, read_bearer(request)) else "web"


@router.head("/media/{media_id}", include_in_schema=False)
@router.get(
    "/media/{media_id}",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}},
        304: {"description": "Not modified"},
    },
    openapi_extra={"parameters": [_WIDTH]},
)
async def download_image(media_id: str, request: Request, context: ContextDep, caller: CallerDep) -> Response:
    """The image's bytes, if the caller owns it, or a smaller form of it."""
    asked = request.query_params.get("w")
    width = None if asked is None else parse_width(asked)
    if not _ID.fullmatch(media_id):
        raise MediaNotFound(media_id)
    image = await context.usecases.media.get_image(caller.person, media_id)
    headers = _media_headers(media_id, image.media_type, width)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    stream = await _open_stream(context, caller, image, width)
    headers["Content-Length"] = str(stream.size)
    return StreamingResponse(stream.chunks, media_type=stream.media_type, headers=headers)


def _media_headers(media_id: str, media_type: str, width: int | None) -> dict[str, str]:
    """`Vary`: a browser must not show one person's images to the next who signs in there."""
    name = download_name(media_id, media_type) if width is None else f"easel-{media_id[:12]}-{width}.webp"
    return {
        "ETag": f'"{media_id}"' if width is None else f'"{media_id}-{width}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Vary": "Authorization, Cookie",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'inline; filename="{name}"',
    }


async def _open_stream(context: WebContext, caller: Caller, image: StoredImage, width: int | None) -> MediaStream:
    if width is None:
        return await context.usecases.media.stream_media(caller.person, image.id)
    return await context.usecases.thumbnails.stream(caller.person, image, width)


def download_name(media_id: str, media_type: str) -> str:
    return f"easel-{media_id[:12]}.{SUFFIXES.get(media_type, 'bin')}"
