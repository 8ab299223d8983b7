"""Backup, checks and purge of the database, and free disk space."""

import asyncio
from contextlib import suppress
from pathlib import Path

from bot.runtime.private_files import FILE_MODE
from storage import audit
from storage.database import Database
from storage.disk import DiskSpace
from storage.monitor import BACKUP_MARK
from storage.purge import Purge


class SqlMaintenance:
    def __init__(self, database: Database, disk: DiskSpace, purge: Purge, data_dir: Path) -> None:
        self._database = database
        self._mark = data_dir / BACKUP_MARK
        self._disk = disk
        self._purge = purge

    async def backup(self, path: Path) -> None:
        await asyncio.to_thread(self._database.dialect.backup, path)
        with suppress(OSError):  # the backup is written; only its time is not shown
            self._mark.touch(FILE_MODE)

    async def check(self) -> list[str]:
        damage = await asyncio.to_thread(self._database.dialect.find_damage)
        return damage or await self._database.run_read(audit.find_problems)

    async def purge(self) -> bool:
        """Purge deleted data from the files now; returns whether nothing is left, which a reader can prevent."""
        return await self._purge.run()

    def free_mb(self) -> int:
        return self._disk.free_mb()
