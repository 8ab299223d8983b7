"""The composition root for the command line: reads settings, serves, opens the application or only its database."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.ports import LoadedConfig
from composition.settings import load_settings

if TYPE_CHECKING:
    from bot.ports import BuildState, Maintenance
    from bot.usecases import PeopleUseCases, UseCases
    from bot.usecases.person_blocking import PersonBlocking
    from storage import RestoreResult


@dataclass(frozen=True)
class OpenDatabase:
    """The open database, without a pool."""

    people: "PeopleUseCases"
    blocking: "PersonBlocking"
    maintenance: "Maintenance"


class Composition:
    """Implements `adapters.cli.ports.CompositionRoot`."""

    def load(self, config: Path | None) -> LoadedConfig:
        return load_settings(config)

    async def serve(self, loaded: LoadedConfig) -> int:
        from composition.server import serve

        return await serve(loaded)

    @asynccontextmanager
    async def open_application(self, loaded: LoadedConfig, only_submitted: bool = True) -> "AsyncIterator[UseCases]":
        from bot.runtime.lock import DataLock
        from composition.application import open_application

        with DataLock(loaded.data_dir) as lock:
            opened = open_application(loaded, secret=lock.secret, only_submitted=only_submitted)
            async with opened as application, asyncio.TaskGroup() as group:
                dispatching = group.create_task(application.dispatcher.run_forever())
                try:
                    yield application.usecases
                finally:
                    await application.usecases.search.close()
                    await application.usecases.model_manager.close()
                    await application.usecases.trainings.close()
                    await application.dispatcher.close(0)
                    await dispatching

    @asynccontextmanager
    async def open_storage_only(self, loaded: LoadedConfig) -> AsyncIterator[OpenDatabase]:
        from bot.runtime.lock import DataLock
        from bot.usecases import PeopleUseCases
        from bot.usecases.person_blocking import PersonBlocking
        from storage import open_storage

        with DataLock(loaded.data_dir):
            async with open_storage(loaded.settings["storage"], loaded.data_dir) as storage:
                jobs = storage.jobs
                people = PeopleUseCases(storage.people, storage.ledger, storage.privacy, loaded.models)
                blocking = PersonBlocking(storage.administration, lambda one, job: jobs.request_cancel(job, one.id))
                yield OpenDatabase(people, blocking, storage.maintenance)

    async def restore_database(self, loaded: LoadedConfig, source: Path) -> "RestoreResult":
        from bot.runtime.lock import DataLock
        from bot.runtime.lock_requests import wait_for_offered_lock
        from storage import restore

        settings = loaded.settings["storage"]
        await asyncio.to_thread(wait_for_offered_lock, loaded.data_dir)
        with DataLock(loaded.data_dir):
            run_restore = partial(
                restore, settings.url, loaded.data_dir, source, busy_timeout_ms=settings.busy_timeout_ms
            )
            return await asyncio.to_thread(run_restore)

    def list_builds(self, loaded: LoadedConfig) -> "Sequence[BuildState]":
        from inference.backends.builder_client import BuilderClient
        from inference.backends.builds import FOLDER

        return BuilderClient(loaded.data_dir / FOLDER).list_states(list(loaded.models.all_specs))

    def builds_size_mb(self, loaded: LoadedConfig) -> int:
        from inference.backends.builds import FOLDER, builds_size_mb

        return builds_size_mb(loaded.data_dir / FOLDER)

    def is_installed(self, backend: str) -> bool:
        from inference.backends.builds import library_version

        return bool(library_version(backend))

    def has_compiler(self) -> bool:
        from inference.backends.compilers import has_compiler

        return has_compiler()

    def probe_devices(self) -> Mapping[str, Any]:
        from inference.hardware.devices import probe_devices

        return {"devices": [vars(device) for device in asyncio.run(probe_devices())]}

    def probe_sandbox(self) -> Mapping[str, str]:
        from inference.ipc.sandbox import probe_measures

        return probe_measures()
