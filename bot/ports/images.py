"""Decoding and encoding of images, in a process of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.jobs import Media
from bot.ports.pool import RenderedImage

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_MAX_BRANDS = 256
"""Bytes of a file's list of brands."""


def is_heic(data: bytes) -> bool:
    """Whether a file that begins like this is HEIC, whatever it is called. AVIF is the same container."""
    length = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS)
    if data[4:8] != b"ftyp" or data[8:12] in (b"avif", b"avis"):
        return False
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, length, 4))]
    return any(brand in _HEIC_BRANDS for brand in brands)


def has_transparency(media: Media) -> bool:
    """Whether it has an alpha channel, by the header of a PNG or WebP."""
    if media.media_type == "image/png":
        return media.data[25:26] in (b"\x04", b"\x06")  # the colour types with alpha, in IHDR
    return media.data[12:16] == b"VP8X" and bool(media.data[20] & 0x10)


@dataclass(frozen=True, kw_only=True)
class SanitizedImage:
    """A sanitized upload: first frame, upright, RGB(A) 8 bit, metadata stripped, PNG or JPEG. `text`: the settings in
    the file as their program wrote them, "" if they are no text."""

    media: Media
    width: int
    height: int
    parameters: Mapping[str, Any] | None
    text: str = ""


class ImageProcessor(Protocol):
    """Decodes and encodes images in a child process with memory and time limits."""

    async def sanitize(self, data: bytes, *, owner: str) -> SanitizedImage:
        """`owner`: the person's id; nobody's uploads keep all decoders busy. Raises: UnsupportedMedia, TooLarge."""

    async def fit_bytes(self, media: Media, max_bytes: int) -> Media:
        """Encode as WebP, then JPEG, then smaller, until it fits; keeps the metadata. Raises: UnsupportedMedia,
        TooLarge."""

    async def convert(self, media: Media, image_format: str, quality: int = 0) -> Media:
        """Encode as "png", "jpeg" or "webp", with the metadata. `quality`: 1 to 100; 0: the format's default.

        Raises: UnsupportedMedia: the image is damaged; EngineError.
        """

    async def contact_sheet(self, pictures: Sequence[Media]) -> Media:
        """One PNG of several images in a nearly square grid, marked as generated. Raises: EngineError."""

    async def resize(self, media: Media, width: int, height: int) -> RenderedImage:
        """Resize with a Lanczos filter to a PNG with the original's metadata. Raises: UnsupportedMedia."""

    async def make_thumbnail(self, media: Media, max_width: int, *, owner: str) -> Media:
        """A WebP at most so wide, never enlarged, with its transparency; marked as generated if the image is.

        Raises: UnsupportedMedia: the image is damaged; EngineError.
        """

    async def run_tool(
        self,
        tool: str,
        images: Sequence[Media],
        values: Mapping[str, Any] | None = None,
        *,
        parameters: str = "",
        easel: str = "",
        owner: str = "",
    ) -> list[RenderedImage]:
        """Run an image tool that needs no model: `inference.images.tools.TOOLS` names them.

        Args:
            values: numbers and texts for the tool.
            parameters, easel: metadata of what it makes; empty: those of the first image. It is marked as generated if
                they are given, or if one of the images is marked.
            owner: of the images; nobody's work keeps all processes busy.

        Raises: EngineError, InvalidOption.
        """

    async def is_empty_mask(self, media: Media) -> bool:
        """Whether a stored mask certainly selects nothing. Raises: EngineError."""
