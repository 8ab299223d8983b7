"""Refuses a mask that selects nothing when it is asked for, rather than after a wait and a charge."""

from contextlib import suppress
from dataclasses import dataclass

from bot.commands import Command
from bot.errors import EngineError, InvalidOption
from bot.ports import ImageProcessor, MediaStore, Person


@dataclass(frozen=True)
class MaskCheck:
    media: MediaStore
    images: ImageProcessor

    async def check(self, person: Person, command: Command) -> None:
        """A mask that cannot be read here is left to the engine. Raises: InvalidOption, MediaNotFound."""
        for image in command.images:
            if image.role == "mask":
                with suppress(EngineError):
                    if await self.images.is_empty_mask(await self.media.read_media(image.id, person.id)):
                        raise InvalidOption("mask", "mask_empty")
