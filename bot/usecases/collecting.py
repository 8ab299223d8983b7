"""A person's collections of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import InvalidOption
from bot.options import check_bytes, clean_text
from bot.ports import MAX_COLLECTION_NAME, CollectionStore, Person, PictureCollection


@dataclass(frozen=True)
class CollectionUseCases:
    collections: CollectionStore

    async def create(self, person: Person, name: str) -> PictureCollection:
        """Raises: InvalidOption: the name, or there are too many."""
        return await self.collections.create(person.id, _check_name(name))

    async def list_all(self, person: Person) -> Sequence[PictureCollection]:
        """By name."""
        return await self.collections.list_all(person.id)

    async def rename(self, person: Person, collection_id: str, name: str) -> PictureCollection:
        """Raises: NotFound, InvalidOption."""
        return await self.collections.rename(person.id, collection_id, _check_name(name))

    async def delete(self, person: Person, collection_id: str) -> None:
        """The pictures stay. Raises: NotFound."""
        await self.collections.delete(person.id, collection_id)

    async def add_picture(self, person: Person, collection_id: str, job_id: str, number: int) -> None:
        """Idempotent. Raises: NotFound, JobNotFound, ImageGone."""
        await self.collections.add_picture(person.id, collection_id, job_id, number)

    async def remove_picture(self, person: Person, collection_id: str, job_id: str, number: int) -> None:
        """Idempotent. Raises: NotFound, JobNotFound."""
        await self.collections.remove_picture(person.id, collection_id, job_id, number)


def _check_name(name: str) -> str:
    """Raises: InvalidOption."""
    check_bytes("name", name, MAX_COLLECTION_NAME)
    name = clean_text(name)
    if not name:
        raise InvalidOption("name", "empty")
    if len(name) > MAX_COLLECTION_NAME:
        raise InvalidOption("name", "long", value=len(name), allowed=str(MAX_COLLECTION_NAME))
    return name
