"""What a prompt means to a model, kept: the same words are encoded once, whoever writes them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch

LIMIT_MB = 128


class Conditions:
    """Answers of one pipeline's `encode_prompt`, the least recently used of them goes first.

    `limit_mb`: of the tensors kept, MiB.
    """

    def __init__(self, limit_mb: int = LIMIT_MB) -> None:
        self._limit = limit_mb * 2**20
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def replacing(self, pipeline: Any, more: Any = None) -> Mapping[str, Callable[..., Any]]:
        """For `suspending.Held.replaced`. `more`: what else the answer depends on, such as adapters."""
        encode = getattr(pipeline, "encode_prompt", None)
        if encode is None:
            return {}
        return {"encode_prompt": lambda *args, **kwargs: self._answer(encode, args, kwargs, more)}

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _answer(self, encode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], more: Any) -> Any:
        key = _plain((args, kwargs, more))
        if key is None:
            return encode(*args, **kwargs)
        key = (type(getattr(encode, "__self__", None)).__name__, key)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = encode(*args, **kwargs)
        self._keep(key, answer)
        return answer

    def _keep(self, key: Any, answer: Any) -> None:
        size = _bytes(answer)
        with self._lock:
            if size > self._limit or key in self._kept:
                return
            self._kept[key] = answer
            self._bytes += size
            while self._bytes > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _bytes(oldest)


def _plain(value: Any) -> Any:
    """The value as something to look up; None when it holds what cannot be told apart by its looks, such as tensors."""
    if value is None:
        return "none"
    if isinstance(value, str | int | float | bool | torch.device | torch.dtype):
        return (type(value).__name__, value)
    if isinstance(value, Mapping):
        value = sorted(value.items())
    if isinstance(value, list | tuple):
        parts = tuple(_plain(part) for part in value)
        return None if None in parts else parts
    return None


def _bytes(value: Any) -> int:
    """Of all tensors in it."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, list | tuple):
        return sum(_bytes(part) for part in value)
    return 0
