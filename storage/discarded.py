"""Image files of results that were not recorded: their job was cancelled, erased or reclaimed in the meantime."""

import time
from collections.abc import Iterable
from pathlib import Path

from bot.jobs import StoredImage
from storage.files import MediaFiles
from storage.media_retention import MediaSweep

KEEP_S = 30.0
"""An equal file may belong to a job whose result is recorded in the meantime."""


class DiscardedFiles:
    """In memory: after a crash, the first sweep deletes files without rows."""

    def __init__(self, sweep: MediaSweep, files: MediaFiles) -> None:
        self._sweep = sweep
        self._files = files
        self._since: dict[Path, float] = {}

    def add(self, images: Iterable[StoredImage | None]) -> None:
        for image in filter(None, images):
            self._since[self._files.path(image.id, image.media_type)] = time.time()

    async def delete(self) -> None:
        """Delete those that no job or person has had for `KEEP_S`."""
        before = time.time() - KEEP_S
        due = [path for path, since in self._since.items() if since <= before]
        if due:
            await self._sweep.delete_ownerless(due, before)
        for path in due:
            del self._since[path]
