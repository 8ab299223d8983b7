"""What was seen in pictures, kept for the next time somebody asks about one: bounded, least recently used out."""

from collections import OrderedDict

import torch

Found = tuple[torch.Tensor, ...]


class Kept:
    """Tensors by key. `limit_bytes`: what all of them may take together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._found: OrderedDict[str, Found] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, key: str) -> Found | None:
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: str, found: Found) -> None:
        """What is larger than all that may be kept is not."""
        if key in self._found:
            self._bytes -= _size(self._found.pop(key))
        self._found[key] = found
        self._bytes += _size(found)
        while self._bytes > self._limit:
            _, oldest = self._found.popitem(last=False)
            self._bytes -= _size(oldest)

    def clear(self) -> None:
        self._found.clear()
        self._bytes = 0


def _size(found: Found) -> int:
    return sum(one.untyped_storage().nbytes() for one in found)
