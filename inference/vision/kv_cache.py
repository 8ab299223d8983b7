"""The KV cache of a batch: keys and values of several sequences, padded at the left.

Left padding keeps the newest tokens of all rows in one column, where the next ones are appended. Padding is masked, so
a row's values equal those of the sequence alone, up to floating-point summation order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache


@dataclass
class KVCache:
    """Attributes:
    cache: each layer's keys and values have the shape (rows, heads, width, head size).
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
        device: torch.device = self.cache.layers[0].keys.device
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
    states = _map_states(cache.cache, lambda states: states[index, :, -width:])
    return KVCache(states, lengths, [cache.shifts[row] for row in rows])


def concat(first: KVCache, second: KVCache) -> KVCache:
    """The rows of both, as wide as the wider one."""
    width = max(first.width, second.width)
    combined = DynamicCache()
    for layer, (one, other) in enumerate(zip(first.cache.layers, second.cache.layers, strict=True)):
        keys = torch.cat([_pad_left(one.keys, width), _pad_left(other.keys, width)])
        values = torch.cat([_pad_left(one.values, width), _pad_left(other.values, width)])
        combined.update(keys, values, layer)
    return KVCache(combined, first.lengths + second.lengths, first.shifts + second.shifts)


def _pad_left(states: torch.Tensor, width: int) -> torch.Tensor:
    return pad(states, (0, 0, width - states.shape[2], 0))


def _map_states(cache: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    result = DynamicCache()
    for number, layer in enumerate(cache.layers):
        result.update(function(layer.keys), function(layer.values), number)
    return result
