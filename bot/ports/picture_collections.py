"""Collections: a person's named sets of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

MAX_COLLECTIONS = 500
"""Per person."""
MAX_COLLECTION_NAME = 80
"""Characters."""


@dataclass(frozen=True, kw_only=True)
class PictureCollection:
    """`cover`: the image that was added last; None: there is none. `count`: its pictures."""

    id: str
    name: str
    created_at: datetime
    count: int = 0
    cover: str | None = None


class CollectionStore(Protocol):
    """Everything here belongs to one person; of others, nothing is found."""

    async def create(self, person_id: str, name: str) -> PictureCollection:
        """Raises: InvalidOption: there is one with this name (in upper or lower case), or there are too many."""

    async def list_all(self, person_id: str) -> Sequence[PictureCollection]:
        """By name."""

    async def rename(self, person_id: str, collection_id: str, name: str) -> PictureCollection:
        """Raises: NotFound; InvalidOption: another one has this name."""

    async def delete(self, person_id: str, collection_id: str) -> None:
        """Its pictures stay. Raises: NotFound."""

    async def add_picture(self, person_id: str, collection_id: str, job_id: str, number: int) -> None:
        """Idempotent. Raises: NotFound, JobNotFound, ImageGone."""

    async def remove_picture(self, person_id: str, collection_id: str, job_id: str, number: int) -> None:
        """Idempotent. Raises: NotFound, JobNotFound."""
