"""LRU cache of image features for follow-up questions, bounded in bytes."""

from collections import OrderedDict

import torch

Features = tuple[torch.Tensor, ...]


class FeatureCache:
    """`limit_bytes`: size of all cached tensors together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[str, Features] = OrderedDict()
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def get(self, key: str) -> Features | None:
        features = self._entries.get(key)
        if features is not None:
            self._entries.move_to_end(key)
        return features

    def put(self, key: str, features: Features) -> None:
        """Features larger than the limit are not cached."""
        if key in self._entries:
            self._nbytes -= _count_bytes(self._entries.pop(key))
        self._entries[key] = features
        self._nbytes += _count_bytes(features)
        while self._nbytes > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._nbytes -= _count_bytes(oldest)

    def clear(self) -> None:
        self._entries.clear()
        self._nbytes = 0


def _count_bytes(features: Features) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in features)
