"""What the command line may do in its own process: read settings, serve, open the application or only its database."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.ports import Loaded
from composition.settings import load_settings

if TYPE_CHECKING:
    from bot.ports import Maintenance
    from bot.usecases import PeopleUseCases, UseCases
    from storage import Restored


@dataclass(frozen=True)
class Chores:
    """The open database without a pool."""

    people: "PeopleUseCases"
    maintenance: "Maintenance"


class Composition:
    """What the command line may ask of this module (`adapters.cli.ports.Composition`)."""

    def load(self, config: Path | None) -> Loaded:
        return load_settings(config)

    async def serve(self, loaded: Loaded) -> int:
        from composition.server import serve

        return await serve(loaded)

    @asynccontextmanager
    async def open_application(self, loaded: Loaded, only_own: bool = True) -> "AsyncIterator[UseCases]":
        from bot.runtime.lock import DataLock
        from composition.application import open_application

        with DataLock(loaded.data_dir) as lock:
            opened = open_application(loaded, secret=lock.secret, only_own=only_own)
            async with opened as application, asyncio.TaskGroup() as group:
                working = group.create_task(application.dispatcher.run())
                try:
                    yield application.usecases
                finally:
                    await application.usecases.choosing.close()
                    await application.dispatcher.close(0)
                    await working

    @asynccontextmanager
    async def open_storage_only(self, loaded: Loaded) -> AsyncIterator[Chores]:
        from bot.runtime.lock import DataLock
        from bot.usecases import PeopleUseCases
        from storage import open_storage

        with DataLock(loaded.data_dir):
            async with open_storage(loaded.settings["storage"], loaded.data_dir) as storage:
                people = PeopleUseCases(storage.people, storage.ledger, storage.privacy, loaded.models)
                yield Chores(people, storage.maintenance)

    async def restore_database(self, loaded: Loaded, source: Path) -> "Restored":
        from bot.runtime.lock import DataLock
        from storage import restore

        settings = loaded.settings["storage"]
        with DataLock(loaded.data_dir):
            put = partial(restore, settings.url, loaded.data_dir, source, busy_timeout_ms=settings.busy_timeout_ms)
            return await asyncio.to_thread(put)

    def probe_devices(self) -> Mapping[str, Any]:
        from inference.hardware.devices import probe

        return {"devices": [vars(device) for device in asyncio.run(probe())]}
