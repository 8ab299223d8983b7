"""The messages about masks, to and from the image worker."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MaskRequest:
    """A stored mask, to be checked."""

    data: bytes


@dataclass(frozen=True, kw_only=True)
class MaskReply:
    is_empty: bool
