"""Batches the VAE decodes of small images, whose cost is mostly overhead.

Large images gain nothing from batching and would need their memory at the same time, so a call holds at most as many
latent cells as one image of 512 x 512 pixels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from inference.diffusion.batching import split_output
from inference.diffusion.coroutines import ModuleCall

MAX_LATENT_CELLS = 64 * 64
"""Latent cells of one call, unless a single image has more."""
BATCHABLE_DECODERS = frozenset({"AutoencoderKL", "AutoencoderKLFlux2"})
"""Decoders that are deterministic and treat each batch row independently."""


def batchable_prefix(decoder: Any, calls: Sequence[ModuleCall]) -> int:
    """How many calls, from the first on, can be one; at least 1."""
    first = calls[0]
    if type(decoder).__name__ not in BATCHABLE_DECODERS or not _is_batchable(first):
        return 1
    latents: torch.Tensor = first.args[0]
    limit = max(1, MAX_LATENT_CELLS // latents[:, 0].numel())
    count = 1
    while count < min(limit, len(calls)) and _has_same_shape(first, calls[count]):
        count += 1
    return count


def batch_calls(calls: Sequence[ModuleCall]) -> ModuleCall:
    """One call for several that `batchable_prefix` allows."""
    return replace(calls[0], args=(torch.cat([call.args[0] for call in calls]),))


def unbatch_output(output: Any, calls: Sequence[ModuleCall]) -> list[Any]:
    """Each call's part of the output of the batched call."""
    return split_output(output, [len(call.args[0]) for call in calls])


def _is_batchable(call: ModuleCall) -> bool:
    return len(call.args) == 1 and call.args[0].ndim == 4 and call.kwargs.get("return_dict") is False


def _has_same_shape(one: ModuleCall, other: ModuleCall) -> bool:
    ours, theirs = one.args[0], other.args[0] if other.args else None
    return (
        _is_batchable(other)
        and isinstance(theirs, torch.Tensor)
        and (one.dtype, one.is_tiled) == (other.dtype, other.is_tiled)
        and (theirs.shape[1:], theirs.dtype, theirs.device) == (ours.shape[1:], ours.dtype, ours.device)
    )
