"""What models see in people's pictures, as vectors, and the pictures nearest to a text."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from bot.ports.learning import Embedding


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpace:
    """The vectors that can be compared: those of one model in one revision.

    Attributes:
        makers: only pictures that these models made are known to it; None: every picture.
    """

    model: str
    revision: str
    makers: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class NearPicture:
    """A picture that a job made or was given. `similarity`: the largest of its vectors, from -1 to 1."""

    job: str
    media: str
    similarity: float


class EmbeddingStore(Protocol):
    """The embeddings of the pictures in people's histories; they go with the pictures."""

    async def list_unembedded(
        self, space: EmbeddingSpace, *, before: int | None, limit: int
    ) -> tuple[list[str], int | None]:
        """Ids of images that have no embedding in the space, of the `limit` jobs before this one, newest first, and the
        `before` of the next ones; None: there are no more."""

    async def save_embedding(self, media_id: str, embedding: Embedding) -> bool:
        """Replace the image's embedding by this model. One without vectors (`count` 0) remembers that the image cannot
        be embedded. False: the image was deleted."""

    async def get_embedding(self, space: EmbeddingSpace, media_id: str) -> Embedding | None:
        """None: the image has none, or it cannot be embedded."""

    async def keep_models(self, models: Collection[str]) -> int:
        """Delete the embeddings by all other models, a chunk at a time; returns their number."""

    async def find_nearest(
        self, owner: str, space: EmbeddingSpace, text: Embedding, *, limit: int, among: Collection[str] | None = None
    ) -> list[NearPicture]:
        """The pictures of the owner's jobs that are nearest to the text, best first: first by the mean of each
        picture's vectors, of which the best `limit` are then compared by all of them.

        `among`: only of these jobs. The first call for an owner reads the mean vectors of all of theirs.
        """

    def drop_cached(self, owners: Collection[str]) -> None:
        """Forget what is in memory of the owners' pictures."""
