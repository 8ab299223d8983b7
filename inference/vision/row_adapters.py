"""Adapters of the rows of a pass: each row is computed with its own LoRA, or with none, in the same passes.

All adapters that are loaded are stacked into one pair of factors for each layer, so their number does not change how
many operations a pass takes: `up @ mask(down @ x)`, in which the mask zeroes, for each row, what belongs to other rows'
adapters. While no row has an adapter, the layers compute exactly what they do without this module.

Source: LoRA (Hu et al., 2021); rows with different adapters: S-LoRA (Sheng et al., 2023).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear, pad

from bot.errors import InvalidOption
from bot.model_install.addon_files import PEFT_CONFIG
from bot.ports import TaskAdapter
from inference.memory.int8_layers import Int8Linear
from inference.vision.adapter_files import LoraFactors, read_adapter, weights_path

MAX_LOADED, MAX_LOADED_BYTES = 8, 256 * 2**20
"""Adapters that stay loaded; those of texts in flight stay even beyond that."""
NO_ADAPTER = ""
"""The key of a row without one."""


@dataclass(frozen=True)
class _Loaded:
    """`versions`: of its files, when they were read."""

    factors: dict[str, LoraFactors]
    rank: int
    versions: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for pair in self.factors.values() for one in (pair.down, pair.up))


@dataclass
class _Stack:
    """The factors of all loaded adapters for one layer: (ranks, inputs) and (outputs, ranks)."""

    down: torch.Tensor
    up: torch.Tensor


class RowAdapters:
    """The adapters of one BLIP-2, by name and the SHA-256 of their weights."""

    def __init__(self, blip: torch.nn.Module, revision: str) -> None:
        linear = torch.nn.Linear | Int8Linear
        self._layers = {name: one for name, one in blip.named_modules() if isinstance(one, linear)}
        self._revision = revision
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._stacks: dict[str, _Stack] = {}
        self._hooks: list[Any] = []
        self._starts: dict[str, int] = {}
        """The first of each adapter's ranks in the stacks."""
        self._hidden: torch.Tensor | None = None
        """(rows, 1, ranks): what belongs to other rows; one row stands for all. None: no row has an adapter."""

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def nbytes(self) -> int:
        stacked = sum(one.down.nbytes + one.up.nbytes for one in self._stacks.values())
        return stacked + sum(one.nbytes for one in self._loaded.values())

    def load(self, adapter: TaskAdapter | None, used: Collection[str] = ()) -> str:
        """Load the adapter, unless it is loaded, and return its key. `used`: keys that must stay.

        Raises: InvalidOption: a sentence says why it cannot be used; nothing has changed.
        """
        if adapter is None:
            return NO_ADAPTER
        if adapter.revision and adapter.revision != self._revision:
            raise InvalidOption("adapter", "adapter_revision", value=adapter.name)
        key, version = f"{adapter.name}@{adapter.sha256}", _file_versions(adapter)
        known = self._loaded.get(key)
        is_new = known is None or known.versions != version
        if is_new:
            factors = read_adapter(adapter, self._layers)
            rank = max(pair.down.shape[0] for pair in factors.values())
            self._loaded[key] = _Loaded(factors, rank, version)
        self._loaded.move_to_end(key)
        if self._evict({*used, key}) or is_new:
            self._stack_all()
        return key

    def unload_unused(self, used: Collection[str] = ()) -> bool:
        """Whether there were any."""
        unused = [key for key in self._loaded if key not in used]
        for key in unused:
            del self._loaded[key]
        if unused:
            self._stack_all()
        return bool(unused)

    @contextmanager
    def applied(self, keys: Sequence[str]) -> Iterator[None]:
        """In the block, row i of every pass has the adapter `keys[i]`; one key alone is that of all rows."""
        self._hidden = self._mask(keys if len(set(keys)) > 1 else keys[:1])
        try:
            yield
        finally:
            self._hidden = None

    # ------------------------------------------------------------ the stacks

    def _mask(self, keys: Sequence[str]) -> torch.Tensor | None:
        if all(key == NO_ADAPTER for key in keys):
            return None
        total = sum(one.rank for one in self._loaded.values())
        hidden = torch.ones(len(keys), 1, total, dtype=torch.bool)
        for row, key in enumerate(keys):
            if key != NO_ADAPTER:
                start = self._starts[key]
                hidden[row, 0, start : start + self._loaded[key].rank] = False
        return hidden

    def _evict(self, used: Collection[str]) -> bool:
        """Unload the least recently used ones beyond the limits; whether there were any."""
        before = len(self._loaded)
        for key in [key for key in self._loaded if key not in used]:
            nbytes = sum(one.nbytes for one in self._loaded.values())
            if len(self._loaded) <= MAX_LOADED and nbytes <= MAX_LOADED_BYTES:
                break
            del self._loaded[key]
        return len(self._loaded) < before

    def _stack_all(self) -> None:
        """Each adapter has as many columns in every layer as in its largest, filled up with zeros."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._stacks, self._starts = [], {}, {}
        total = 0
        for key, one in self._loaded.items():
            self._starts[key] = total
            total += one.rank
        for name in sorted({name for one in self._loaded.values() for name in one.factors}):
            layer = self._layers[name]
            padded = [_pad_pair(one.factors.get(name), one.rank, layer) for one in self._loaded.values()]
            self._stacks[name] = _Stack(
                torch.cat([pair.down for pair in padded]), torch.cat([pair.up for pair in padded], dim=1)
            )
            self._hooks.append(layer.register_forward_hook(self._hook_for(self._stacks[name])))

    def _hook_for(self, stack: _Stack) -> Any:
        def add_change(_layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            if self._hidden is None:
                return None
            (states,) = inputs
            if stack.down.dtype != states.dtype or stack.down.device != states.device:
                stack.down, stack.up = stack.down.to(states), stack.up.to(states)
            if self._hidden.device != states.device:
                self._hidden = self._hidden.to(states.device)
            narrow = linear(states, stack.down).masked_fill(self._hidden, 0)  # what is infinite elsewhere stays there
            return output + linear(narrow, stack.up).to(output.dtype)

        return add_change


def _file_versions(adapter: TaskAdapter) -> tuple[tuple[int, int], ...]:
    """Raises: InvalidOption: one is gone."""
    weights = weights_path(adapter)
    try:
        found = [path.stat() for path in (weights, weights.with_name(PEFT_CONFIG))]
    except OSError as error:
        raise InvalidOption("adapter", "adapter_missing", value=adapter.name) from error
    return tuple((one.st_mtime_ns, one.st_size) for one in found)


def _pad_pair(pair: LoraFactors | None, rank: int, layer: Any) -> LoraFactors:
    if pair is None:
        return LoraFactors(torch.zeros(rank, layer.in_features), torch.zeros(layer.out_features, rank))
    missing = rank - pair.down.shape[0]
    return LoraFactors(pad(pair.down, (0, 0, 0, missing)), pad(pair.up, (0, missing)))
