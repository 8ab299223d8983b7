"""The composition root: config -> storage -> pool -> platforms -> run.

The only module that knows every room. It decides nothing: what it wires is decided elsewhere. Rooms are imported
where they are needed, so that `--help` answers at once.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.composition import Loaded

if TYPE_CHECKING:
    from bot.deliver import Deliverer
    from bot.dispatch import Dispatcher
    from bot.models import ModelSpec
    from bot.ports import Adapter, Maintenance, Measured, Platform
    from bot.pricing import Rates
    from bot.stopping import Stop
    from bot.upkeep import Upkeep
    from bot.usecases import PeopleUseCases, UseCases
    from inference.pictures import PictureService
    from inference.pool import DevicePool
    from inference.settings import PoolSettings
    from storage import Restored, Storage

ROOT = Path(__file__).resolve().parent
ENGINES = "inference.engine:build"


# ---------------------------------------------------------------- settings


def sections() -> dict[str, type]:
    """Every table of the config but `[models.NAME]`, and the dataclass beside its user that reads it."""
    from adapters import PLATFORMS
    from adapters.chosen import platform_settings
    from bot.house import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings
    from bot.logs import LogsSettings
    from bot.safety import SafetySettings
    from inference.devices import DevicesSettings
    from inference.settings import PoolSettings
    from storage import StorageSettings

    return {
        **{name: platform_settings(name, path) for name, path in PLATFORMS.items()},
        "logs": LogsSettings,
        "storage": StorageSettings,
        "retention": RetentionSettings,
        "quota": QuotaSettings,
        "queue": QueueSettings,
        "pool": PoolSettings,
        "devices": DevicesSettings,
        "images": ImagesSettings,
        "safety": SafetySettings,
    }


def shipped() -> "dict[str, ModelSpec]":
    """The models and presets as `config.toml` beside this file has them."""
    from bot.models import ModelSettings
    from bot.settings import read_settings
    from bot.styles import NAMED

    files = [ROOT / "config.toml"]
    settings = read_settings(sections(), model_type=ModelSettings, named=NAMED, files=files, environ={})
    return _specs(settings["models"])


def _specs(tables: Mapping[str, Any]) -> "dict[str, ModelSpec]":
    from bot.models import ModelSpec

    specs = {name: ModelSpec(name=name, **vars(table)) for name, table in tables.items()}
    return {
        name: replace(spec, repo=str(ROOT / spec.repo)) if (ROOT / spec.repo).is_dir() else spec
        for name, spec in specs.items()
    }


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check all settings. Raises: ConfigError."""
    from bot.models import Models, ModelSettings
    from bot.settings import make_data_dir, read_secrets, read_settings, settings_files
    from bot.styles import NAMED

    data_dir = make_data_dir(environ)
    files = settings_files(ROOT, data_dir, config)
    settings = read_settings(sections(), model_type=ModelSettings, named=NAMED, files=files, environ=environ)
    specs = _specs(settings.pop("models"))
    return Loaded(
        settings=settings,
        secrets=read_secrets(environ, data_dir),
        data_dir=data_dir,
        models=Models(specs),
        root=ROOT,
        files=tuple(files),
    )


# ---------------------------------------------------------------- the house


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything that runs, wired."""

    usecases: "UseCases"
    dispatcher: "Dispatcher"
    deliverer: "Deliverer"
    upkeep: "Upkeep"
    storage: "Storage"


@asynccontextmanager
async def open_house(
    loaded: Loaded,
    *,
    secret: str,
    only_own: bool = False,
    platforms: Mapping[str, "Platform"] | None = None,
    engines: str = ENGINES,
) -> AsyncIterator[House]:
    """Storage, pool and core, open and recovered but not yet working: `House.dispatcher.run()` does that.

    The data directory's lock must be held.
    """
    from bot.choices import OwnersChoices
    from bot.pricing import Rates
    from bot.recovery import recover
    from inference.pictures import PictureService, PictureSettings
    from storage import open_storage

    settings = loaded.settings
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(settings["storage"], loaded.data_dir))
        if not only_own:
            OwnersChoices(loaded.data_dir, shipped).expect(loaded.models)
            await recover(storage.jobs, loaded.models, max_interruptions=settings["queue"].max_interruptions)
        for name, form in (await storage.learned.forms()).items():
            loaded.models.learn(name, form)
        limits = PictureSettings(
            max_mb=settings["images"].max_upload_mb, max_megapixels=settings["images"].max_megapixels
        )
        pictures = await stack.enter_async_context(PictureService(limits))
        warm_up = settings["pool"].warm_up and not only_own
        pool_settings = replace(settings["pool"], warm_up=warm_up)  # a single command loads just what it needs
        measured = await storage.learned.rates()
        pool = await stack.enter_async_context(await _pool(loaded, pool_settings, pictures, engines, measured))
        rates = Rates(measured, lambda: next((one.device for one in pool.statuses()), ""))
        yield _wire(loaded, storage, pool, pictures, rates, platforms or {}, secret=secret, only_own=only_own)


async def _pool(
    loaded: Loaded,
    settings: "PoolSettings",
    pictures: "PictureService",
    engines: str,
    measured: "Sequence[Measured]",
) -> "DevicePool":
    """The pool; devices that have to be found out are found out while the page already answers."""
    from bot.safety import classifier_of
    from inference.devices import configured_devices
    from inference.pool import DevicePool

    chosen = loaded.settings["devices"]
    find = partial(configured_devices, chosen)
    devices = find if chosen.use == "auto" else await find()
    classifier = classifier_of(loaded.settings["safety"])
    return DevicePool(
        settings,
        devices,
        loaded.models.ready(),
        pictures,
        engines=engines,
        classifier=classifier,
        rates=measured,
    )


def _wire(
    loaded: Loaded,
    storage: "Storage",
    pool: "DevicePool",
    pictures: "PictureService",
    rates: "Rates",
    platforms: Mapping[str, "Platform"],
    *,
    secret: str,
    only_own: bool,
) -> House:
    from bot.deliver import Deliverer
    from bot.dispatch import Dispatcher
    from bot.events import Events
    from bot.finishing import Finishing
    from bot.upkeep import Upkeep
    from bot.usecases import JobUseCases
    from inference import assembly

    settings, models, events = loaded.settings, loaded.models, Events()
    moderation, wording = assembly.moderation(loaded, storage), assembly.wording(loaded)
    deliverer = Deliverer(outbox=storage.outbox, media=storage.media, events=events, platforms=platforms)
    dispatcher = Dispatcher(
        store=storage.jobs,
        media=storage.media,
        learned=storage.learned,
        pool=pool,
        models=models,
        rates=rates,
        finishing=Finishing(media=storage.media, pool=pool, pictures=pictures, models=models),
        moderation=moderation,
        wording=wording,
        events=events,
        settings=settings["queue"],
        on_finished=lambda _job: deliverer.wake(),
        only_own=only_own,
    )

    def wake(job_ids: Iterable[str]) -> None:
        dispatcher.wake(job_ids)
        deliverer.wake()

    jobs = JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=models,
        rates=rates,
        events=events,
        moderation=moderation,
        queue=settings["queue"],
        quota=settings["quota"],
        wake=wake,
        interrupt=dispatcher.interrupt,
        devices=pool.statuses,
        secret=secret.encode(),
        wording=wording,
    )
    choosing = assembly.choosing(loaded, storage, pool, rates, events, wake, shipped)
    usecases = assembly.usecases(loaded, storage, pool, pictures, jobs, moderation, choosing)
    upkeep = Upkeep(
        media=storage.media,
        inbox=storage.inbox,
        privacy=storage.privacy,
        images=settings["images"],
        retention=settings["retention"],
    )
    return House(usecases=usecases, dispatcher=dispatcher, deliverer=deliverer, upkeep=upkeep, storage=storage)


async def serve(loaded: Loaded, *, engines: str = ENGINES) -> int:
    """Run until SIGINT or SIGTERM: then take nothing more on, let running jobs finish or go back to the queue.

    A second signal ends the process at once; nothing is lost by it. Returns the exit code.
    """
    from adapters.chosen import adapters_of
    from bot.errors import StartupError
    from bot.lock import DataLock
    from bot.stopping import Stop
    from bot.usecases import Surroundings

    stop = Stop()
    with DataLock(loaded.data_dir) as lock:
        async with open_house(loaded, secret=lock.secret, engines=engines) as house:
            surroundings = Surroundings(
                usecases=house.usecases,
                data_dir=loaded.data_dir,
                secret=lock.secret,
                announce=lambda line: print(line, flush=True),
                publish=lock.publish,
                inbox=house.storage.inbox,
                secret_of=loaded.secrets.of,
            )
            try:
                adapters = adapters_of(loaded, surroundings)
                house.deliverer.connect(adapters)
                await _work(house, adapters, stop, loaded.settings["queue"].drain_s)
            except* StartupError as group:
                raise group.exceptions[0] from None
    return 0


async def _work(house: House, adapters: "list[Adapter]", stop: "Stop", drain_s: float) -> None:
    from bot.stopping import end

    async with asyncio.TaskGroup() as group:
        working = group.create_task(house.dispatcher.run())
        others = [group.create_task(adapter.run()) for adapter in adapters]
        others += [group.create_task(house.deliverer.run()), group.create_task(house.upkeep.run())]
        others.append(group.create_task(house.usecases.choosing.resume()))
        await stop.wait()
        house.usecases.jobs.is_closing = True
        print("Stopping: running jobs may finish; press Ctrl-C again to stop at once.", file=sys.stderr, flush=True)
        await house.usecases.choosing.close()
        await house.dispatcher.close(drain_s)
        await working
        await end(others)


# ---------------------------------------------------------------- one-shot commands


@dataclass(frozen=True)
class Chores:
    """The open database without a pool."""

    people: "PeopleUseCases"
    maintenance: "Maintenance"


class Composition:
    """What the command line may ask of this module (`adapters.cli.composition.Composition`)."""

    def load(self, config: Path | None) -> Loaded:
        return load(config)

    async def serve(self, loaded: Loaded) -> int:
        return await serve(loaded)

    @asynccontextmanager
    async def open_house(self, loaded: Loaded, only_own: bool = True) -> "AsyncIterator[UseCases]":
        from bot.lock import DataLock

        with DataLock(loaded.data_dir) as lock:
            async with open_house(loaded, secret=lock.secret, only_own=only_own) as house, asyncio.TaskGroup() as group:
                working = group.create_task(house.dispatcher.run())
                try:
                    yield house.usecases
                finally:
                    await house.usecases.choosing.close()
                    await house.dispatcher.close(0)
                    await working

    @asynccontextmanager
    async def open_storage_only(self, loaded: Loaded) -> AsyncIterator[Chores]:
        from bot.lock import DataLock
        from bot.usecases import PeopleUseCases
        from storage import open_storage

        with DataLock(loaded.data_dir):
            async with open_storage(loaded.settings["storage"], loaded.data_dir) as storage:
                people = PeopleUseCases(storage.people, storage.ledger, storage.privacy, loaded.models)
                yield Chores(people, storage.maintenance)

    async def restore_database(self, loaded: Loaded, source: Path) -> "Restored":
        from bot.lock import DataLock
        from storage import restore

        settings = loaded.settings["storage"]
        with DataLock(loaded.data_dir):
            put = partial(restore, settings.url, loaded.data_dir, source, busy_timeout_ms=settings.busy_timeout_ms)
            return await asyncio.to_thread(put)

    def probe_devices(self) -> Mapping[str, Any]:
        from inference.devices import probe

        return {"devices": [vars(device) for device in asyncio.run(probe())]}


def main() -> int:
    """Returns the exit code."""
    from adapters.cli import run

    return run(Composition())


if __name__ == "__main__":
    sys.exit(main())
