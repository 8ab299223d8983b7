"""Copies what a training learns from: the owner's folder, if there is one, with people's corrections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bot.errors import TrainingRefused
from bot.ports import Correction
from bot.usecases.training_folders import add_corrections, fill_folder
from bot.usecases.training_orders import Training

CHUNK = 16
"""Images in memory together."""


@dataclass(frozen=True, kw_only=True)
class TrainingExamples:
    """`list_corrections`: those that may be used; `read_image`: None if it was deleted meanwhile."""

    list_corrections: Callable[[], Awaitable[Sequence[Correction]]]
    read_image: Callable[[Correction], Awaitable[bytes | None]]

    async def copy(self, folder: Path, training: Training) -> dict[str, str]:
        """Returns the ids of corrections by file name. Raises: TrainingRefused."""
        listed = await self.list_corrections()
        training.used_corrections = frozenset(one.id for one in listed)  # from here on, a withdrawal finds the training
        allowed = {one.id for one in await self.list_corrections()}
        write = partial(fill_folder, folder, training.order.folder)
        files: dict[str, str] = {}
        async for chunk in self._read_chunks([one for one in listed if one.id in allowed]):
            files |= await asyncio.to_thread(write, chunk)
            write = partial(add_corrections, folder)
        if not files:
            raise TrainingRefused("no_corrections")
        return files

    async def _read_chunks(self, chosen: Sequence[Correction]) -> AsyncIterator[list[tuple[Correction, bytes]]]:
        chunk: list[tuple[Correction, bytes]] = []
        for number, one in enumerate(chosen, 1):
            if (data := await self.read_image(one)) is not None:
                chunk.append((one, data))
            if chunk and (len(chunk) == CHUNK or number == len(chosen)):
                yield chunk
                chunk = []
