"""Decoding and encoding of pictures, apart from everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.jobs import Media
from bot.ports.pool import Rendered


@dataclass(frozen=True, kw_only=True)
class CleanPicture:
    """An upload made safe: first frame, upright, RGB(A) 8 bit, metadata stripped, PNG or JPEG."""

    media: Media
    width: int
    height: int
    parameters: Mapping[str, Any] | None


class Pictures(Protocol):
    """Decoding and encoding of pictures, in a child process with memory and time limits."""

    async def clean(self, data: bytes) -> CleanPicture:
        """Raises: UnsupportedMedia, TooLarge."""

    async def shrink(self, media: Media, max_bytes: int) -> Media:
        """WebP, then JPEG, then smaller, until it fits; metadata is kept. Raises: UnsupportedMedia, TooLarge."""

    async def grid(self, pictures: Sequence[Media]) -> Media:
        """One PNG of several pictures, as square as it goes, that calls itself generated. Raises: EngineError."""

    async def enlarge(self, media: Media, width: int, height: int) -> Rendered:
        """Resized with a Lanczos filter, as PNG, with the metadata of the original. Raises: UnsupportedMedia."""
