"""What a language model remembers of several texts at once: keys and values of each, padded at the left.

Padding at the left keeps the newest tokens of all rows in one column, where the next ones are appended. Padding is
masked, so a row's numbers are those it would have alone, up to the order in which sums are rounded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache


@dataclass
class Past:
    """Rows of a cache.

    Attributes:
        cache: a layer's keys and values have the shape (rows, heads, width, size of a head).
        lengths: how many of its columns are the row's own.
    """

    cache: Any
    lengths: list[int]

    @property
    def width(self) -> int:
        return int(self.cache.get_seq_length())

    def mask(self, more: int = 0) -> torch.Tensor:
        """1 where a row has something, (rows, width + `more`); `more`: columns that are about to be appended."""
        return left_mask([length + more for length in self.lengths], self.width + more, self.device)

    @property
    def device(self) -> torch.device:
        found: torch.device = self.cache.layers[0].keys.device
        return found


def left_mask(lengths: Sequence[int], width: int, device: torch.device) -> torch.Tensor:
    """(rows, width): 0 for padding at the left, 1 for the rest."""
    starts = torch.tensor([width - length for length in lengths], device=device)
    return (torch.arange(width, device=device)[None, :] >= starts[:, None]).long()


def narrowed(past: Past, rows: Sequence[int]) -> Past:
    """Only these rows, no wider than the longest of them."""
    lengths = [past.lengths[row] for row in rows]
    width = max(lengths)
    chosen = torch.tensor(rows, device=past.device)
    return Past(_changed(past.cache, lambda states: states[chosen, :, -width:]), lengths)


def joined(first: Past, second: Past) -> Past:
    """The rows of both, as wide as the wider."""
    width = max(first.width, second.width)
    both = DynamicCache()
    for layer, (one, other) in enumerate(zip(first.cache.layers, second.cache.layers, strict=True)):
        keys = torch.cat([_widened(one.keys, width), _widened(other.keys, width)])
        values = torch.cat([_widened(one.values, width), _widened(other.values, width)])
        both.update(keys, values, layer)
    return Past(both, first.lengths + second.lengths)


def _widened(states: torch.Tensor, width: int) -> torch.Tensor:
    return pad(states, (0, 0, width - states.shape[2], 0))


def _changed(cache: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    changed = DynamicCache()
    for number, layer in enumerate(cache.layers):
        changed.update(change(layer.keys), change(layer.values), number)
    return changed
