"""How many tokens a prompt has for a model, without loading the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bot.models import ModelSpec


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """Attributes:
    tokens: of the text, without those that the model adds at its start and end.
    limit: how many the model reads, or one chunk holds; None: unknown.
    chunks: into how many the text is split; 1 for a model that reads only one.
    unread: tokens beyond what the model reads.
    """

    tokens: int
    limit: int | None
    chunks: int = 1
    unread: int = 0


class TokenCounter(Protocol):
    async def count_tokens(self, model: ModelSpec, texts: Mapping[str, str]) -> Mapping[str, TokenCount | None]:
        """Of each text, by its name; None: unknown, because the model's files have no tokenizer that can be read, or
        reading it takes longer."""
