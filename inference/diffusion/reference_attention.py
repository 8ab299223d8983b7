"""Cross-attention to the image tokens of references: what an IP-Adapter adds to a UNet, for each row its own.

It is what the stock IP-Adapter computes at each row's scale. A row without references computes what the plain UNet
does: nothing is added to it and it brings no tokens, so adapters can be loaded while images are in flight.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.functional import linear, scaled_dot_product_attention

from inference.diffusion.coroutines import ModuleCall

ATTENTION_ARGUMENT = "ip_hidden_states"
"""Argument of the attention processors, which Diffusers hands on from `cross_attention_kwargs`."""
LayerWeights = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""By attention layer: what makes keys and values of image tokens."""


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """A row's references of one kind.

    Attributes:
        kind: "style" or "subject".
        weights: of the IP-Adapter, for the layers that use these references.
        scale: of what is added; the weight of the strongest reference.
        tokens: of all its references, (tokens, channels).
        bias: added to the attention to each token, (tokens,): the logarithm of its reference's weight, relative to the
            strongest; None: all weigh the same, as in a stock pipeline.
    """

    kind: str
    weights: LayerWeights
    scale: float
    tokens: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class _TokenGroup:
    """Tokens of several rows that one attention serves.

    Attributes:
        rows: their numbers, (n,); None: all rows of the pass.
        scales: (n, 1, 1), float32.
        tokens: (n, tokens, channels).
        bias: (n, 1, 1, tokens).
    """

    weights: LayerWeights
    rows: torch.Tensor | None
    scales: torch.Tensor
    tokens: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class RowReferences:
    """The references of each row of a denoiser call."""

    rows: tuple[tuple[ImageTokens, ...], ...]

    @cached_property
    def groups(self) -> list[_TokenGroup]:
        """Put together once for all layers."""
        found: dict[Hashable, list[tuple[int, ImageTokens]]] = {}
        for number, row in enumerate(self.rows):
            for one in row:
                key = (one.kind, id(one.weights), one.tokens.shape, one.bias is None)
                found.setdefault(key, []).append((number, one))
        return [_group_tokens(members, len(self.rows)) for members in found.values()]


def _group_tokens(members: Sequence[tuple[int, ImageTokens]], row_count: int) -> _TokenGroup:
    numbers, references = zip(*members, strict=True)
    first = references[0]
    device = first.tokens.device
    biases = [one.bias for one in references if one.bias is not None]
    return _TokenGroup(
        weights=first.weights,
        rows=None if len(numbers) == row_count else torch.tensor(numbers, device=device),
        scales=torch.tensor([one.scale for one in references], device=device).view(-1, 1, 1),
        tokens=torch.stack([one.tokens for one in references]),
        bias=torch.stack(biases)[:, None, None, :] if biases else None,
    )


def merge_references(values: Sequence[Any], rows: Sequence[int]) -> dict[str, Any] | None:
    """`cross_attention_kwargs` of a shared pass from those of its calls; None: no call has references."""
    if not any(values):
        return None
    merged: list[tuple[ImageTokens, ...]] = []
    for value, count in zip(values, rows, strict=True):
        merged += value[ATTENTION_ARGUMENT].rows if value else [()] * count
    return {ATTENTION_ARGUMENT: RowReferences(tuple(merged))}


def with_references(call: ModuleCall, positive: Sequence[ImageTokens], negative: Sequence[ImageTokens]) -> ModuleCall:
    """The denoiser call with references: `negative` for the rows without the prompt, as stock pipelines order them."""
    sample = call.args[0] if call.args else call.kwargs["sample"]
    with_prompt, without = tuple(positive), tuple(negative)
    rows = {1: (with_prompt,), 2: (without, with_prompt), 3: (with_prompt, without, without)}[len(sample)]
    attention = {ATTENTION_ARGUMENT: RowReferences(rows)}
    return replace(call, kwargs={**call.kwargs, "cross_attention_kwargs": attention})


class ReferenceAttnProcessor(AttnProcessor2_0):
    """The cross-attention of one layer, with what references add to their rows."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        ip_hidden_states: RowReferences | None = None,
    ) -> torch.Tensor:
        groups = [one for one in ip_hidden_states.groups if self._layer in one.weights] if ip_hidden_states else []
        if not groups:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        adding = _AddingAttention(attn, self._layer, groups)
        return super().__call__(adding, hidden_states, encoder_hidden_states, attention_mask, temb)


class _AddingAttention:
    """An attention layer, for one call: what attends to image tokens is added before its output projection."""

    def __init__(self, attn: Any, layer: str, groups: Sequence[_TokenGroup]) -> None:
        self._attn, self._layer, self._groups = attn, layer, groups
        self._query: Any = None
        self.to_out = (self._project, attn.to_out[1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attn, name)

    def to_q(self, hidden_states: torch.Tensor) -> torch.Tensor:
        self._query = self._attn.to_q(hidden_states)
        return self._query

    def _project(self, attended: torch.Tensor) -> torch.Tensor:
        for group in self._groups:
            query = self._query if group.rows is None else self._query[group.rows]
            added = self._attend(query, group)
            added = (added.float() * group.scales).to(attended.dtype)  # rounds as a product with a number does
            attended = attended + added if group.rows is None else attended.index_add(0, group.rows, added)
        return self._attn.to_out[0](attended)

    def _attend(self, query: torch.Tensor, group: _TokenGroup) -> torch.Tensor:
        to_key, to_value = group.weights[self._layer]
        query, key, value = (
            part.unflatten(-1, (self._attn.heads, -1)).transpose(1, 2)
            for part in (query, linear(group.tokens, to_key), linear(group.tokens, to_value))
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=group.bias)
        return attended.transpose(1, 2).flatten(2)


def install_processors(unet: Any) -> None:
    """Let the cross-attention of a UNet take references; without any it computes what it did before."""
    processors = dict(unet.attn_processors)
    for name in cross_attention_layers(unet):
        if type(processors[name]) is AttnProcessor2_0:
            processors[name] = ReferenceAttnProcessor(name)
    unet.set_attn_processor(processors)


def cross_attention_layers(unet: Any) -> list[str]:
    """Names of the processors, in the order in which IP-Adapters number them."""
    return [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
