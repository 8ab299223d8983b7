"""How BLIP-2's two kinds of language model read prompts and write one token for many texts at once.

The models' own forward passes do the work; here is only what they must be told when rows of different lengths share
one pass.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from inference.vision.kv_cache import Past, left_mask

State = tuple[Past, ...]
"""What a batch remembers: of its own tokens, and, with an encoder, of what that read."""

_KNOWN = ("opt", "t5")
"""Language models whose positions and masks were checked row by row."""
_USUAL = frozenset(
    """
    _from_model_config transformers_version use_cache output_attentions output_hidden_states max_length max_new_tokens
    bos_token_id eos_token_id pad_token_id decoder_start_token_id do_sample temperature top_p top_k num_beams
    """.split()  # noqa: SIM905 - sixteen quoted words hide what the list is
)
"""What a model's generation config may say and still be written in a batch; anything else is left to `generate`."""


class Language(Protocol):
    """All tensors are on the model's device."""

    def read(self, prompts: Sequence[torch.Tensor]) -> tuple[State, torch.Tensor]:
        """Read prompts of any lengths, each (tokens, width of the model). Returns what to remember, and the scores of
        the first word of each, (rows, words)."""

    def write(self, state: State, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each row; `state` remembers it. Returns the scores of the next, (rows, words)."""


def language_for(model: Any) -> Language | None:
    """None: only `generate` knows how to write with this model."""
    if model.config.model_type not in _KNOWN or not is_usual(model.generation_config):
        return None
    return EncoderDecoder(model) if model.config.is_encoder_decoder else DecoderOnly(model)


def is_usual(config: GenerationConfig) -> bool:
    """Whether the model asks for nothing but what a batch gives every row, such as a penalty for repeating."""
    return {name for name, value in config.to_diff_dict().items() if value is not None} <= _USUAL


class DecoderOnly:
    """OPT. Its positions are learned, so each row counts its own."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def read(self, prompts: Sequence[torch.Tensor]) -> tuple[State, torch.Tensor]:
        embeds, lengths = _stacked(prompts)
        mask = left_mask(lengths, embeds.shape[1], embeds.device)
        cache = DynamicCache(config=self._model.config)
        made = self._model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return (Past(cache, lengths),), made.logits[:, -1]

    def write(self, state: State, tokens: Sequence[int]) -> torch.Tensor:
        (past,) = state
        made = self._model(
            input_ids=torch.tensor(tokens, device=past.device)[:, None],
            attention_mask=past.mask(more=1),
            position_ids=torch.tensor(past.lengths, device=past.device)[:, None],
            past_key_values=past.cache,
            use_cache=True,
        )
        past.lengths = [length + 1 for length in past.lengths]
        scores: torch.Tensor = made.logits[:, -1]
        return scores


class EncoderDecoder:
    """Flan-T5. Its positions are distances, which padding at the left leaves as they are."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def read(self, prompts: Sequence[torch.Tensor]) -> tuple[State, torch.Tensor]:
        embeds, lengths = _stacked(prompts)
        mask = left_mask(lengths, embeds.shape[1], embeds.device)
        seen = self._model.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        own, cross = DynamicCache(), DynamicCache()
        start = torch.full((len(prompts), 1), self._model.config.decoder_start_token_id, device=embeds.device)
        made = self._decode(start, None, EncoderDecoderCache(own, cross), seen, mask)
        return (Past(own, [1] * len(prompts)), Past(cross, lengths)), made

    def write(self, state: State, tokens: Sequence[int]) -> torch.Tensor:
        own, cross = state
        ids = torch.tensor(tokens, device=own.device)[:, None]
        # The decoder has its keys and values of what the encoder saw; of this it reads only the shape.
        seen = torch.zeros((), dtype=self._model.dtype, device=own.device)
        seen = seen.expand(len(tokens), cross.width, self._model.config.d_model)
        scores = self._decode(ids, own.mask(more=1), EncoderDecoderCache(own.cache, cross.cache), seen, cross.mask())
        own.lengths = [length + 1 for length in own.lengths]
        return scores

    def _decode(
        self, ids: torch.Tensor, own_mask: torch.Tensor | None, cache: Any, seen: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        made = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=seen),
            attention_mask=mask,
            decoder_input_ids=ids,
            decoder_attention_mask=own_mask,
            past_key_values=cache,
            use_cache=True,
        )
        scores: torch.Tensor = made.logits[:, -1]
        return scores


def _stacked(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Prompts padded at the left, (rows, tokens of the longest, width), and the length of each."""
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    return torch.stack([pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in prompts]), lengths
