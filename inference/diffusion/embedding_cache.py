"""What prompts and pictures to refer to mean to a model, kept: the same ones are encoded once, whoever brings them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from inference.diffusion.batching import digest

LIMIT_MB = 128


class Conditions:
    """Answers of one pipeline's `encode_prompt`, and of FLUX.2's encoder of pictures, which draws nothing at random.
    The least recently used of them goes first.

    `limit_mb`: of the tensors kept, MiB.
    """

    def __init__(self, limit_mb: int = LIMIT_MB) -> None:
        self._limit = limit_mb * 2**20
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def replacing(self, pipeline: Any, more: Any = None) -> Mapping[str, Callable[..., Any]]:
        """For `suspending.Held.replaced`. `more`: what else the answer depends on, such as adapters."""
        name = type(pipeline).__name__
        replaced: dict[str, Callable[..., Any]] = {}
        read, see = (getattr(pipeline, method, None) for method in ("encode_prompt", "_encode_vae_image"))
        if read is not None:
            replaced["encode_prompt"] = lambda *args, **kwargs: self._answer(
                _plain((name, args, kwargs, more)), partial(read, *args, **kwargs)
            )
        if see is not None and hasattr(pipeline, "_unpack_latents_with_ids"):
            replaced["_encode_vae_image"] = lambda image, generator=None: self._answer(
                _plain((name, digest(image), tuple(image.shape), image.dtype)), partial(see, image, generator)
            )
        return replaced

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _answer(self, key: Any, encode: Callable[[], Any]) -> Any:
        if key is None:
            return encode()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = encode()
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
