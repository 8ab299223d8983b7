"""Images in fields: base64, with or without the beginning of a data URL."""

import base64
import binascii
import re
from typing import Any

from bot.errors import InvalidOption

_DATA_URL = re.compile(r"\s*data:[\w.+/-]{0,60}(?:;[\w=.-]{0,60})*;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]{1,12}://", re.IGNORECASE)
_MAX_PREFIX = 300


def decode_image(field: str, value: Any) -> bytes:
    """The bytes of an image, which are not looked at. Addresses are never fetched.

    Raises: InvalidOption.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(field, "body", allowed="it must be an image in base64")
    if _ADDRESS.match(value[:_MAX_PREFIX]):
        raise InvalidOption(field, "body", allowed="addresses are not fetched; send the image itself in base64")
    prefix = _DATA_URL.match(value[:_MAX_PREFIX])
    text = "".join((value[prefix.end() :] if prefix else value).split())
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidOption(field, "body", allowed="it must be an image in base64") from error


def encode_image(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
