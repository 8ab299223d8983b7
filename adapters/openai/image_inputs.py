"""Images that a request brings: files of a form, data: URLs, and ids or addresses of the caller's own images here.

An http(s) URL of any other server is never fetched: that would let strangers send requests from this machine.
"""

import base64
import binascii
import re
from typing import Any

from starlette.datastructures import UploadFile

from adapters.web.client_calls import ClientCall
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.ports.images import has_transparency

_ID = re.compile(r"[0-9a-f]{64}")
_OWN_URL = re.compile(r"(?:https?://[^/?#]{1,255})?/(?:api/)?v1/media/([0-9a-f]{64})(?:\?.*)?")
_DATA_URL = re.compile(r"data:[^,]{0,100}?;base64,", re.IGNORECASE)
_NOT_FETCHED = "URLs are not fetched here: send the image itself as a data: URL, or the id of an image on this server"


def is_image_text(text: str) -> bool:
    """Whether it is an image in a text, rather than words."""
    return _DATA_URL.match(text) is not None or _ID.fullmatch(text) is not None or _OWN_URL.fullmatch(text) is not None


async def read_image(call: ClientCall, source: object, param: str) -> StoredImage:
    """Raises: InvalidOption, MediaNotFound; like `MediaUseCases.upload`."""
    if isinstance(source, UploadFile):
        return await call.store_image(await source.read())
    if not isinstance(source, str) or not source.strip():
        raise InvalidOption(param, "body", allowed="send an image")
    text = source.strip()
    if (prefix := _DATA_URL.match(text)) is not None:
        return await call.store_image(_decode(text[prefix.end() :], param))
    own = _ID.fullmatch(text) or _OWN_URL.fullmatch(text)
    if own is None:
        raise InvalidOption(param, "body", allowed=_NOT_FETCHED)
    return await call.context.usecases.media.get_image(call.caller.person, own[own.lastindex or 0])


def _decode(text: str, param: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidOption(param, "body", allowed="its base64 is damaged") from error


async def read_mask(call: ClientCall, source: Any) -> ImageRef:
    """OpenAI's mask: what is transparent is repainted. Raises: like `read_image`; InvalidOption: nothing is."""
    mask = await read_image(call, source, "mask")
    return await _mask_of(call, mask)


async def read_own_mask(call: ClientCall, image: StoredImage) -> list[ImageRef]:
    """The mask that an image's own transparent part is; empty: it has none."""
    media = await call.read_image(image.id)
    try:
        return [await _mask_of(call, image)] if has_transparency(media) else []
    except InvalidOption:  # it has an alpha channel in which nothing is transparent
        return []


async def _mask_of(call: ClientCall, image: StoredImage) -> ImageRef:
    media = await call.read_image(image.id)
    mask = await call.context.usecases.media.mask_transparency(call.caller.person, media)
    return ImageRef((await call.store_image(mask.data)).id, "mask")
