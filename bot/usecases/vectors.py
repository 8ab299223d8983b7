"""Vectors of texts and of one's own images in the space where both are compared."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bot.commands import Match
from bot.errors import InvalidOption, NoModel, WorkerLost
from bot.models import ModelSpec
from bot.options import clean_text
from bot.ports import Embedding, EmbeddingStore, MediaStore, Person
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.refused_requests import refuse_blocked

T = TypeVar("T")

LIMIT_S = 60.0
"""How long a request waits for a device with a slot to spare, and for its model."""


@dataclass(frozen=True, kw_only=True)
class VectorUseCases:
    """Nothing is charged; a person's requests follow each other."""

    media: MediaStore
    embeddings: EmbeddingStore
    tasks: MatchTasks

    async def embed_text(self, person: Person, text: str) -> Embedding:
        """Raises: Blocked; InvalidOption: the model knows no word of it; NoModel; WorkerLost: the devices are busy."""
        refuse_blocked(person)
        model, words = self._require_model(), clean_text(text)
        if not words:
            raise InvalidOption("text", "missing")
        found = await _within_limit(self.tasks.embed_text(model, words, person.id, may_unload=True))
        if found is None:
            raise InvalidOption("text", "no_known_words")
        return found

    async def embed_image(self, person: Person, media_id: str) -> Embedding:
        """Raises: Blocked; MediaNotFound: it is not the person's; NoModel; EngineError."""
        refuse_blocked(person)
        model = self._require_model()
        await self.media.get_image(media_id, person.id)
        stored = await self.embeddings.get_embedding(self.tasks.space_of(model), media_id)
        if stored is not None:
            return stored
        read_image = partial(self.media.read_media, media_id, person.id)
        return await _within_limit(self.tasks.embed_image(model, read_image, person.id))

    def _require_model(self) -> ModelSpec:
        model = self.tasks.model
        if model is None:
            raise NoModel(Match.name, Match.unavailable)
        return model


async def _within_limit(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(LIMIT_S):
            return await work
    except TimeoutError:
        raise WorkerLost(was_alone=False, detail="no device had a slot to spare") from None
