"""Builds the input of BLIP-2's language model: image tokens, then prompt tokens."""

from typing import Any

import torch

from bot.errors import InvalidOption


class PromptBuilder:
    """Builds the prompts of one model as its own `generate` does."""

    def __init__(self, blip: Any, processor: Any) -> None:
        self._blip = blip
        self._tokenizer = processor.tokenizer
        self._image_token = int(blip.config.image_token_index)
        self._query_count = int(blip.config.num_query_tokens)

    def tokenize(self, text: str | None) -> list[int]:
        """Token ids of the text. An image token typed by the user is dropped, because no image belongs to it."""
        if text is None:
            start = self._blip.config.text_config.bos_token_id
            return [] if start is None else [int(start)]
        return [token for token in self._tokenizer(text).input_ids if token != self._image_token]

    def with_image_tokens(self, prompt_ids: list[int]) -> list[int]:
        return [self._image_token] * self._query_count + prompt_ids

    def embed(self, image_features: torch.Tensor, prompt_ids: list[int]) -> torch.Tensor:
        """`image_features`: (queries, width of the model). Returns (tokens, width)."""
        ids = torch.tensor(prompt_ids, dtype=torch.long, device=image_features.device)
        embeds = self._blip.get_input_embeddings()(ids)
        return torch.cat([image_features.to(embeds.dtype), embeds])

    def remaining_tokens(self, prompt_ids: list[int], text: str | None) -> int | None:
        """How many tokens may follow the prompt; None: unlimited. Raises: InvalidOption: none."""
        config = self._blip.language_model.config
        if config.is_encoder_decoder:
            return None
        max_length = getattr(config, "max_position_embeddings", None)
        if max_length is None:
            return None
        remaining = int(max_length) - self._query_count - len(prompt_ids)
        if remaining < 1:
            allowed = max(1, len(text or "") * (len(prompt_ids) + remaining - 1) // len(prompt_ids))
            raise InvalidOption("question", "long", value=len(text or ""), allowed=str(allowed))
        return remaining
