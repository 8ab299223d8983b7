"""Caches prompt and reference-image embeddings: equal inputs are encoded once for all users."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from inference.diffusion.batching import tensor_digest

LIMIT_MB = 128


class EmbeddingCache:
    """LRU cache of the outputs of `encode_prompt`, and of FLUX.2's image encoder, which is deterministic.

    `limit_mb`: size of the cached tensors, MiB.
    """

    def __init__(self, limit_mb: int = LIMIT_MB) -> None:
        self._limit = limit_mb * 2**20
        self._entries: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def cached_methods(self, pipeline: Any, loras: Any = None) -> Mapping[str, Callable[..., Any]]:
        """For `InterceptedCalls.overrides`. `loras`: the active ones, which prompt embeddings depend on."""
        name = type(pipeline).__name__
        methods: dict[str, Callable[..., Any]] = {}
        encode_prompt = getattr(pipeline, "encode_prompt", None)
        encode_image = getattr(pipeline, "_encode_vae_image", None)
        if encode_prompt is not None:
            methods["encode_prompt"] = lambda *args, **kwargs: self.get_or_encode(
                _hashable_key((name, args, kwargs, loras)), partial(encode_prompt, *args, **kwargs)
            )
        if encode_image is not None and hasattr(pipeline, "_unpack_latents_with_ids"):
            methods["_encode_vae_image"] = lambda image, generator=None: self.get_or_encode(
                _hashable_key((name, tensor_digest(image), tuple(image.shape), image.dtype)),
                partial(encode_image, image, generator),
            )
        return methods

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def get_or_encode(self, key: Any, encode: Callable[[], Any]) -> Any:
        """What was encoded for an equal key; None is equal to no key."""
        if key is None:
            return encode()
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        embeddings = encode()
        self._store(key, embeddings)
        return embeddings

    def _store(self, key: Any, embeddings: Any) -> None:
        size = _count_bytes(embeddings)
        with self._lock:
            if size > self._limit or key in self._entries:
                return
            self._entries[key] = embeddings
            self._bytes += size
            while self._bytes > self._limit:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= _count_bytes(oldest)


def _hashable_key(value: Any) -> Any:
    """A key equal for equal arguments; None if they hold values without a cheap equality, such as tensors."""
    if value is None:
        return "none"
    if isinstance(value, str | int | float | bool | torch.device | torch.dtype):
        return (type(value).__name__, value)
    if isinstance(value, Mapping):
        value = sorted(value.items())
    if isinstance(value, list | tuple):
        parts = tuple(_hashable_key(part) for part in value)
        return None if None in parts else parts
    return None


def _count_bytes(value: Any) -> int:
    """Of all tensors in the value."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, list | tuple):
        return sum(_count_bytes(part) for part in value)
    return 0
