"""Changes an image's prompt between steps: replaces the conditioning in its denoiser calls before they are batched.

All texts of an image are encoded to one length, so it stays in its batch. Only for UNets, whose pipelines pass the
embeddings in the arguments named here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from inference.diffusion.clip_encoding import PromptEmbeds
from inference.diffusion.coroutines import ModuleCall

_IS_NEGATIVE: Mapping[int, tuple[bool, ...]] = {1: (False,), 2: (True, False), 3: (False, True, True)}
"""Which rows have the negative prompt, by their number: without guidance, with it, and InstructPix2Pix."""


@dataclass(frozen=True, kw_only=True)
class PromptSwap:
    """Attributes:
    by_step: the embeddings of each step.
    passes_per_step: denoiser passes of one step: 2 for samplers of second order.
    """

    by_step: Sequence[PromptEmbeds]
    passes_per_step: int = 1

    def apply(self, call: ModuleCall, pass_number: int) -> ModuleCall:
        """The call with the prompt of its step. `pass_number`: denoiser passes before it."""
        step = min(pass_number // self.passes_per_step, len(self.by_step) - 1)
        embeds = self.by_step[step]
        kwargs = dict(call.kwargs)
        kwargs["encoder_hidden_states"] = _rows_like(
            kwargs["encoder_hidden_states"], embeds.embeds, embeds.negative_embeds
        )
        added: Mapping[str, Any] = kwargs.get("added_cond_kwargs") or {}
        if "text_embeds" in added and embeds.pooled is not None:
            pooled = _rows_like(added["text_embeds"], embeds.pooled, embeds.negative_pooled)
            kwargs["added_cond_kwargs"] = {**added, "text_embeds": pooled}
        return replace(call, kwargs=kwargs)


def _rows_like(rows: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor | None) -> torch.Tensor:
    """Positive and negative embeddings, (1, ...), in the order of these rows, which they replace."""
    parts = [negative if is_negative and negative is not None else positive for is_negative in _IS_NEGATIVE[len(rows)]]
    return torch.cat(parts).to(rows.device, rows.dtype)
