"""What the language model of a BLIP-2 reads: the picture's tokens, then words."""

from typing import Any

import torch

from bot.errors import InvalidOption


class Prompts:
    """Prompts of one model, as its own `generate` makes them."""

    def __init__(self, blip: Any, processor: Any) -> None:
        self._blip = blip
        self._tokenizer = processor.tokenizer
        self._image = int(blip.config.image_token_index)
        self._queries = int(blip.config.num_query_tokens)

    def words(self, text: str | None) -> list[int]:
        """Ids of the words. A token for a picture that somebody typed is none: it stands for no picture."""
        if text is None:
            start = self._blip.config.text_config.bos_token_id
            return [] if start is None else [int(start)]
        return [token for token in self._tokenizer(text).input_ids if token != self._image]

    def ids(self, words: list[int]) -> list[int]:
        return [self._image] * self._queries + words

    def embeds(self, seen: torch.Tensor, words: list[int]) -> torch.Tensor:
        """`seen`: the picture, (queries, width of the model). Returns (tokens, width)."""
        read = self._blip.get_input_embeddings()(torch.tensor(words, dtype=torch.long, device=seen.device))
        return torch.cat([seen.to(read.dtype), read])

    def room(self, words: list[int], text: str | None) -> int | None:
        """How many tokens may follow; None: any number. Raises: InvalidOption: none."""
        config = self._blip.language_model.config
        if config.is_encoder_decoder:
            return None
        longest = getattr(config, "max_position_embeddings", None)
        if longest is None:
            return None
        room = int(longest) - self._queries - len(words)
        if room < 1:
            fits = max(1, len(text or "") * (len(words) + room - 1) // len(words))
            raise InvalidOption("question", "long", value=len(text or ""), allowed=str(fits))
        return room
