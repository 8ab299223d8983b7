"""`/v1/models`, and `/v1/media/{id}`: the images that answers name."""

from typing import Any

from starlette.responses import JSONResponse, Response

from adapters.openai.fields import Fields
from adapters.openai.model_names import find_model, listed, model_json
from adapters.web.client_calls import ClientCall
from adapters.web.routes_media import download_image
from bot.options import OptionSpec

_FORMAT = OptionSpec(name="format", kind=str, help="", choices=("png", "jpeg", "webp"))
_COMPRESSION = OptionSpec(name="compression", kind=int, help="", minimum=0, maximum=100)

_CACHED = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Authorization"}


async def list_models(call: ClientCall) -> Response:
    data = [model_json(spec.name) for spec in listed(call.context.usecases.models)]
    return JSONResponse({"object": "list", "data": data})


async def get_model(call: ClientCall) -> Response:
    """Also of OpenAI's names: programs ask whether there is a model before they use it."""
    name = call.request.path_params["model"]
    find_model(call.context.usecases.models, name)
    return JSONResponse(model_json(name))


async def get_media(call: ClientCall) -> Response:
    """The caller's image, in another format if one is asked for."""
    request, context = call.request, call.context
    media_id: str = request.path_params["media_id"]
    query: dict[str, Any] = dict(request.query_params)
    fields = Fields(query)
    file_format, compression = fields.read(_FORMAT), fields.read(_COMPRESSION)
    if file_format is None:
        return await download_image(media_id, request, context, call.caller)
    media = await call.read_image(media_id)
    quality = 0 if compression is None or file_format == "png" else max(1, compression)
    async with context.uploads.decoding(call.caller.person.id):
        converted = await context.usecases.media.convert(media, file_format, quality)
    return Response(converted.data, media_type=converted.media_type, headers=_CACHED)
