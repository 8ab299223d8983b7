"""Batched prefill and decoding for BLIP-2's two kinds of language model.

The models' own forward passes do the work; this module supplies the masks, positions and caches that rows of different
lengths need in one pass.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from inference.vision.kv_cache import KVCache, left_padding_mask

CacheState = tuple[KVCache, ...]
"""The decoder's own cache and, with an encoder, the cross-attention cache."""

_BATCHABLE_MODEL_TYPES = ("opt", "t5")
"""Language models whose positions and masks are tested row by row."""
_BATCHABLE_SETTINGS = frozenset(
    """
    _from_model_config transformers_version use_cache output_attentions output_hidden_states max_length max_new_tokens
    bos_token_id eos_token_id pad_token_id decoder_start_token_id do_sample temperature top_p top_k num_beams
    """.split()  # noqa: SIM905 - sixteen quoted words hide what the list is
)
"""Settings of a generation config that the batch supports; models with any other setting use `generate`."""


class LanguageModel(Protocol):
    """All tensors are on the model's device."""

    def prefill(self, prompts: Sequence[torch.Tensor]) -> tuple[CacheState, torch.Tensor]:
        """Prefill prompts of any lengths, each (tokens, width of the model). Returns the caches, and the logits of the
        first token of each, (rows, vocabulary)."""

    def decode(self, state: CacheState, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each row of `state`, in place. Returns the logits of the next, (rows, vocabulary)."""


def language_model_for(model: Any) -> LanguageModel | None:
    """None: the model needs `generate`."""
    if model.config.model_type not in _BATCHABLE_MODEL_TYPES or not is_batchable(model.generation_config):
        return None
    return EncoderDecoder(model) if model.config.is_encoder_decoder else DecoderOnly(model)


def is_batchable(config: GenerationConfig) -> bool:
    """Whether the config only uses settings that the batch supports; a repetition penalty, for example, is not one."""
    return {name for name, value in config.to_diff_dict().items() if value is not None} <= _BATCHABLE_SETTINGS


class DecoderOnly:
    """OPT. Its positions are learned, so each row has its own position ids."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prefill(self, prompts: Sequence[torch.Tensor]) -> tuple[CacheState, torch.Tensor]:
        embeds, lengths = _stack_left_padded(prompts)
        mask = left_padding_mask(lengths, embeds.shape[1], embeds.device)
        cache = DynamicCache(config=self._model.config)
        output = self._model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return (KVCache(cache, lengths),), output.logits[:, -1]

    def decode(self, state: CacheState, tokens: Sequence[int]) -> torch.Tensor:
        (cache,) = state
        output = self._model(
            input_ids=torch.tensor(tokens, device=cache.device)[:, None],
            attention_mask=cache.attention_mask(extra_columns=1),
            position_ids=torch.tensor(cache.lengths, device=cache.device)[:, None],
            past_key_values=cache.cache,
            use_cache=True,
        )
        cache.lengths = [length + 1 for length in cache.lengths]
        logits: torch.Tensor = output.logits[:, -1]
        return logits


class EncoderDecoder:
    """Flan-T5. Its positions are relative, so left padding does not change them."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prefill(self, prompts: Sequence[torch.Tensor]) -> tuple[CacheState, torch.Tensor]:
        embeds, lengths = _stack_left_padded(prompts)
        mask = left_padding_mask(lengths, embeds.shape[1], embeds.device)
        encoded = self._model.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        own, cross = DynamicCache(), DynamicCache()
        start = torch.full((len(prompts), 1), self._model.config.decoder_start_token_id, device=embeds.device)
        logits = self._forward(start, None, EncoderDecoderCache(own, cross), encoded, mask)
        return (KVCache(own, [1] * len(prompts)), KVCache(cross, lengths)), logits

    def decode(self, state: CacheState, tokens: Sequence[int]) -> torch.Tensor:
        own, cross = state
        ids = torch.tensor(tokens, device=own.device)[:, None]
        # The cross-attention keys and values are cached; only the shape of the encoder's output is used.
        encoded = torch.zeros((), dtype=self._model.dtype, device=own.device)
        encoded = encoded.expand(len(tokens), cross.width, self._model.config.d_model)
        caches = EncoderDecoderCache(own.cache, cross.cache)
        logits = self._forward(ids, own.attention_mask(extra_columns=1), caches, encoded, cross.attention_mask())
        own.lengths = [length + 1 for length in own.lengths]
        return logits

    def _forward(
        self,
        ids: torch.Tensor,
        own_mask: torch.Tensor | None,
        cache: Any,
        encoded: torch.Tensor,
        cross_mask: torch.Tensor,
    ) -> torch.Tensor:
        output = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=cross_mask,
            decoder_input_ids=ids,
            decoder_attention_mask=own_mask,
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _stack_left_padded(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Left-padded prompts, (rows, tokens of the longest, width), and the length of each."""
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    return torch.stack([pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in prompts]), lengths
