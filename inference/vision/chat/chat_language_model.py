"""Batched decoding for chatting models whose cache is one of keys and values, padded at the left, or of linear
attention, whose state has one size.

A prompt is prefilled alone, with the images that belong to it; then its row joins the others.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer

from inference.vision.kv_cache import KVCache, concat
from inference.vision.language_model import CacheState

_JOINABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer, LinearAttentionLayer)
"""Layers that rows of several prompts can share. A sliding layer may as well keep every key: its mask hides the old
ones."""


def has_joinable_cache(model: Any) -> bool:
    """Whether the model's own cache consists of such layers, at least one of which has keys."""
    layers = DynamicCache(config=model.config).layers
    has_keys = any(isinstance(layer, DynamicLayer) for layer in layers)
    return has_keys and all(type(layer) in _JOINABLE_LAYERS for layer in layers)


def _empty_cache(config: Any) -> Any:
    """Layers of keys and values are added as they are needed, unless there are others between them."""
    layers = DynamicCache(config=config).layers
    cache = DynamicCache()
    if any(isinstance(layer, LinearAttentionLayer) for layer in layers):
        cache.layers = [layer if isinstance(layer, LinearAttentionLayer) else DynamicLayer() for layer in layers]
    return cache


class ChatLanguageModel:
    """All tensors are on the model's device."""

    def __init__(self, model: Any) -> None:
        self._model = model
        takes_limit = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last_only: dict[str, int] = {"logits_to_keep": 1} if takes_limit else {}
        self._has_image_positions = hasattr(model.model, "rope_deltas")

    def prefill(self, prompts: Sequence[Mapping[str, torch.Tensor]]) -> tuple[CacheState, torch.Tensor]:
        """Prefill prompts, each with its own images, one by one. Returns the caches, and the logits of the first token
        of each, (rows, vocabulary)."""
        rows = [self._prefill_row(prompt) for prompt in prompts]
        return (reduce(concat, (cache for cache, _ in rows)),), torch.cat([logits for _, logits in rows])

    def last_logits(self, prompt: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of the first token after a prompt, (vocabulary,)."""
        logits: torch.Tensor = self._model(**prompt, use_cache=False, **self._last_only).logits[0, -1]
        return logits.float()

    def _prefill_row(self, prompt: Mapping[str, torch.Tensor]) -> tuple[KVCache, torch.Tensor]:
        cache = _empty_cache(self._model.config)
        if self._has_image_positions:
            self._model.model.rope_deltas = None
        output = self._model(**prompt, past_key_values=cache, use_cache=True, **self._last_only)
        length = int(prompt["input_ids"].shape[1])
        shifts = self._model.model.rope_deltas if self._has_image_positions else None
        shift = int(shifts[0]) if shifts is not None else 0  # a prompt without an image has none
        return KVCache(cache, [length], [shift]), output.logits[:, -1]

    def decode(self, state: CacheState, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each row of `state`, in place. Returns the logits of the next, (rows, vocabulary)."""
        (cache,) = state
        positions = [length + shift for length, shift in zip(cache.lengths, cache.shifts, strict=True)]
        position_ids = torch.tensor(positions, device=cache.device)[:, None]
        output = self._model(
            input_ids=torch.tensor(tokens, device=cache.device)[:, None],
            attention_mask=cache.attention_mask(extra_columns=1),
            position_ids=position_ids.expand(3, -1, -1) if self._has_image_positions else position_ids,
            past_key_values=cache.cache,
            use_cache=True,
        )
        cache.lengths = [length + 1 for length in cache.lengths]
        logits: torch.Tensor = output.logits[:, -1]
        return logits
