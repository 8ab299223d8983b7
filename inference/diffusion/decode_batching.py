"""Decodes of several pictures in one call: those of small pictures cost mostly overhead.

Large ones gain nothing by company and would take its memory at once, so a call holds no more latent cells than one
picture of 512 pixels has.
"""

from collections.abc import Sequence
from typing import Any

import torch

from inference.diffusion.batching import parts
from inference.diffusion.coroutines import Call

CELLS = 64 * 64
"""Latent cells of one call, unless one picture has more."""
MERGED = frozenset({"AutoencoderKL", "AutoencoderKLFlux2"})
"""Decoders that treat each row by itself and draw nothing at random."""


def together(decoder: Any, calls: Sequence[Call]) -> int:
    """How many of the calls, from the first on, make one; at least 1."""
    first = calls[0]
    if type(decoder).__name__ not in MERGED or not _is_plain(first):
        return 1
    latents: torch.Tensor = first.args[0]
    limit = max(1, CELLS // latents[:, 0].numel())
    alike = 1
    while alike < min(limit, len(calls)) and _is_like(first, calls[alike]):
        alike += 1
    return alike


def join(calls: Sequence[Call]) -> Call:
    """One call for several that `together` allows."""
    first = calls[0]
    return Call(first.component, first.method, (torch.cat([call.args[0] for call in calls]),), first.kwargs)


def split(answer: Any, calls: Sequence[Call]) -> list[Any]:
    """Each call's part of the answer of `join`'s."""
    return parts(answer, [len(call.args[0]) for call in calls])


def _is_plain(call: Call) -> bool:
    return len(call.args) == 1 and call.args[0].ndim == 4 and call.kwargs.get("return_dict") is False


def _is_like(one: Call, other: Call) -> bool:
    ours, theirs = one.args[0], other.args[0] if other.args else None
    return (
        _is_plain(other)
        and isinstance(theirs, torch.Tensor)
        and (theirs.shape[1:], theirs.dtype, theirs.device) == (ours.shape[1:], ours.dtype, ours.device)
    )
