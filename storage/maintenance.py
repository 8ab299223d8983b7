"""Backup and checks of the database, and free disk space."""

import asyncio
from pathlib import Path

from storage import audit
from storage.database import Database
from storage.disk import DiskSpace


class SqlMaintenance:
    def __init__(self, database: Database, disk: DiskSpace) -> None:
        self._database = database
        self._disk = disk

    async def backup(self, path: Path) -> None:
        await asyncio.to_thread(self._database.dialect.backup, path)

    async def check(self) -> list[str]:
        damage = await asyncio.to_thread(self._database.dialect.find_damage)
        return damage or await self._database.run_read(audit.find_problems)

    def free_mb(self) -> int:
        return self._disk.free_mb()
