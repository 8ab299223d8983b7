"""The messages to and from the process that decodes and encodes images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SanitizeRequest:
    """`max_pixels`: of the stored image. `max_heic_pixels`: of a HEIC before it is scaled down; 0: the same."""

    data: bytes
    max_pixels: int
    max_heic_pixels: int = 0


@dataclass(frozen=True, kw_only=True)
class SanitizeReply:
    data: bytes
    media_type: str
    width: int
    height: int
    parameters: Mapping[str, Any] | None
    text: str = ""
    """The settings as the file has them, in A1111's format or any other; "": none that are text."""


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """`pixels`: RGB or RGBA, 8 bit. `image_format`: "png", "jpeg" or "webp". `source`: the encoded image that they were
    computed from, whose metadata the file gets."""

    pixels: bytes
    width: int
    height: int
    parameters: str
    easel: str
    image_format: str = "png"
    source: bytes = b""


@dataclass(frozen=True, kw_only=True)
class ContactSheetRequest:
    """Encoded images to lay out on one sheet of `columns` columns (0: as square as possible)."""

    images: tuple[bytes, ...]
    columns: int = 0
    image_format: str = "png"
    parameters: str = ""
    easel: str = ""


@dataclass(frozen=True, kw_only=True)
class FitBytesRequest:
    """An image of ours, to be encoded in at most `max_bytes`."""

    data: bytes
    max_bytes: int


@dataclass(frozen=True, kw_only=True)
class ConvertRequest:
    """An image of ours, to be encoded as "png", "jpeg" or "webp". `quality`: 1 to 100; 0: the format's default."""

    data: bytes
    image_format: str
    quality: int = 0


@dataclass(frozen=True, kw_only=True)
class ResizeRequest:
    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class EncodeReply:
    """`parameters`: the A1111 text in the file."""

    data: bytes
    media_type: str
    width: int
    height: int
    parameters: str = ""
