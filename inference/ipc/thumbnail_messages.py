"""The message about thumbnails to the image worker, which answers with an `EncodeReply`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ThumbnailRequest:
    """A stored image, to be shown at most `max_width` pixels wide."""

    data: bytes
    max_width: int
