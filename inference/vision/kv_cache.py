"""The KV cache of a batch: keys and values of several sequences, padded at the left.

Left padding keeps the newest tokens of all rows in one column, where the next ones are appended. Padding is masked, so
a row's values equal those of the sequence alone, up to floating-point summation order.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer


@dataclass
class KVCache:
    """Attributes:
    cache: each layer's keys and values have the shape (rows, heads, width, head size); layers of linear attention have
        states of one size, from which nothing is masked: only rows without padding come in.
    lengths: of each row, without its padding.
    shifts: of each row, by how much the positions of its next tokens exceed its length: an image may take other than
        one position for each of its tokens.
    """

    cache: Any
    lengths: list[int]
    shifts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shifts = self.shifts or [0] * len(self.lengths)

    @property
    def width(self) -> int:
        return int(self.cache.get_seq_length())

    def attention_mask(self, extra_columns: int = 0) -> torch.Tensor:
        """1 for tokens, 0 for padding, (rows, width + extra_columns). `extra_columns`: will be appended next."""
        lengths = [length + extra_columns for length in self.lengths]
        return left_padding_mask(lengths, self.width + extra_columns, self.device)

    @property
    def device(self) -> torch.device:
        keys = next(layer.keys for layer in self.cache.layers if isinstance(layer, DynamicLayer))
        device: torch.device = keys.device
        return device


def left_padding_mask(lengths: Sequence[int], width: int, device: torch.device) -> torch.Tensor:
    """(rows, width): 0 for left padding, 1 for tokens."""
    starts = torch.tensor([width - length for length in lengths], device=device)
    return (torch.arange(width, device=device)[None, :] >= starts[:, None]).long()


def keep_rows(cache: KVCache, rows: Sequence[int]) -> KVCache:
    """Only these rows, as wide as the longest of them."""
    lengths = [cache.lengths[row] for row in rows]
    width = max(lengths)
    index = torch.tensor(rows, device=cache.device)
    layers = [
        _map_layers([layer], lambda states: states[0][index, :, -width:], lambda states: states[0][index])
        for layer in cache.cache.layers
    ]
    return KVCache(_cache_of(layers), lengths, [cache.shifts[row] for row in rows])


def concat(first: KVCache, second: KVCache) -> KVCache:
    """The rows of both, as wide as the wider one."""
    width = max(first.width, second.width)
    layers = [
        _map_layers(pair, lambda states: torch.cat([_pad_left(one, width) for one in states]), torch.cat)
        for pair in zip(first.cache.layers, second.cache.layers, strict=True)
    ]
    return KVCache(_cache_of(layers), first.lengths + second.lengths, first.shifts + second.shifts)


def _pad_left(states: torch.Tensor, width: int) -> torch.Tensor:
    return pad(states, (0, 0, width - states.shape[2], 0))


_Join = Callable[[Sequence[torch.Tensor]], torch.Tensor]


def _map_layers(layers: Sequence[Any], join_columns: _Join, join_rows: _Join) -> Any:
    """A layer with the joined states of others of its kind. `join_columns`: of keys and values; `join_rows`: of the
    states of linear attention, which have one size for prompts of any length."""
    first = layers[0]
    if isinstance(first, LinearAttentionLayer):
        joined = copy(first)
        for name in ("conv_states", "recurrent_states"):
            states = [getattr(layer, name) for layer in layers]
            known = {number: [one[number] for one in states] for number in states[0]}
            setattr(joined, name, {number: _join_known(some, join_rows) for number, some in known.items()})
        return joined
    made = DynamicLayer()
    made.update(join_columns([layer.keys for layer in layers]), join_columns([layer.values for layer in layers]))
    return made


def _join_known(states: Sequence[torch.Tensor | None], join_rows: _Join) -> torch.Tensor | None:
    known = [one for one in states if one is not None]
    return join_rows(known) if known else None


def _cache_of(layers: Sequence[Any]) -> Any:
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache
