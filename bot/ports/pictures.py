"""Decoding and encoding of pictures, apart from everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bot.jobs import Media


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
