"""The composition root: config -> storage -> pool -> platforms -> run.

The only module that knows every room. It decides nothing: what it wires is decided elsewhere. Rooms are imported
where they are needed, so that `--help` answers at once.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.composition import Loaded

if TYPE_CHECKING:
    from bot.deliver import Deliverer
    from bot.dispatch import Dispatcher
    from bot.ports import Adapter, Maintenance, Platform
    from bot.pricing import Rates
    from bot.upkeep import Upkeep
    from bot.usecases import JobUseCases, Moderation, PeopleUseCases, Surroundings, UseCases
    from inference.pictures import PictureService
    from inference.pool import DevicePool
    from inference.settings import PoolSettings
    from storage import Storage

ROOT = Path(__file__).resolve().parent
ENGINES = "inference.engine:build"


# ---------------------------------------------------------------- settings


def sections() -> dict[str, type]:
    """Every table of the config but `[models.NAME]`, and the dataclass beside its user that reads it."""
    from adapters import PLATFORMS
    from bot.house import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings
    from bot.logs import LogsSettings
    from bot.safety import SafetySettings
    from inference.devices import DevicesSettings
    from inference.settings import PoolSettings
    from storage import StorageSettings

    return {
        **{name: _platform_settings(name, path) for name, path in PLATFORMS.items()},
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


def _platform_settings(name: str, path: str) -> type:
    """`NameSettings` in the adapter's `settings.py`, which imports no platform library."""
    folder = path.partition(":")[0]
    found: type = getattr(importlib.import_module(f"{folder}.settings"), f"{name.capitalize()}Settings")
    return found


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check all settings. Raises: ConfigError."""
    from bot.models import Models, ModelSettings, ModelSpec
    from bot.settings import make_data_dir, read_secrets, read_settings, settings_files

    data_dir = make_data_dir(environ)
    files = settings_files(ROOT, data_dir, config)
    settings = read_settings(sections(), model_type=ModelSettings, files=files, environ=environ)
    specs = {}
    for name, table in settings.pop("models").items():
        spec = ModelSpec(name=name, **vars(table))
        specs[name] = replace(spec, repo=str(ROOT / spec.repo)) if (ROOT / spec.repo).is_dir() else spec
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
    from bot.pricing import Rates
    from bot.recovery import recover
    from inference.pictures import PictureService, PictureSettings
    from storage import open_storage

    settings = loaded.settings
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(settings["storage"], loaded.data_dir))
        if not only_own:
            await recover(storage.jobs, loaded.models, max_interruptions=settings["queue"].max_interruptions)
        for name, form in (await storage.learned.forms()).items():
            loaded.models.learn(name, form)
        limits = PictureSettings(
            max_mb=settings["images"].max_upload_mb, max_megapixels=settings["images"].max_megapixels
        )
        pictures = await stack.enter_async_context(PictureService(limits))
        warm_up = settings["pool"].warm_up and not only_own
        pool_settings = replace(settings["pool"], warm_up=warm_up)  # a single command loads just what it needs
        pool = await stack.enter_async_context(await _pool(loaded, pool_settings, pictures, engines))
        rates = Rates(await storage.learned.rates(), lambda: next((one.device for one in pool.statuses()), ""))
        yield _wire(loaded, storage, pool, pictures, rates, platforms or {}, secret=secret, only_own=only_own)


async def _pool(loaded: Loaded, settings: "PoolSettings", pictures: "PictureService", engines: str) -> "DevicePool":
    """The pool; devices that have to be found out are found out while the page already answers."""
    from bot.safety import classifier_of
    from inference.devices import configured_devices
    from inference.pool import DevicePool

    chosen = loaded.settings["devices"]
    find = partial(configured_devices, chosen)
    devices = find if chosen.use == "auto" else await find()
    classifier = classifier_of(loaded.settings["safety"])
    return DevicePool(settings, devices, list(loaded.models), pictures, engines=engines, classifier=classifier)


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

    settings, models, events = loaded.settings, loaded.models, Events()
    moderation = _moderation(loaded, storage)
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
        devices=lambda: len(pool.statuses()),
        secret=secret.encode(),
    )
    usecases = _usecases(loaded, storage, pool, pictures, jobs, moderation)
    upkeep = Upkeep(
        media=storage.media,
        inbox=storage.inbox,
        privacy=storage.privacy,
        images=settings["images"],
        retention=settings["retention"],
    )
    return House(usecases=usecases, dispatcher=dispatcher, deliverer=deliverer, upkeep=upkeep, storage=storage)


def adapters_of(loaded: Loaded, surroundings: "Surroundings") -> "list[Adapter]":
    """Every platform that is switched on; its library is imported only then."""
    from adapters import PLATFORMS

    chosen = []
    for name, path in PLATFORMS.items():
        if is_on(loaded, name):
            module, _, attribute = path.partition(":")
            kind: Any = getattr(importlib.import_module(module), attribute)
            chosen.append(kind(loaded.settings[name], surroundings))
    return chosen


def _usecases(
    loaded: Loaded,
    storage: "Storage",
    pool: "DevicePool",
    pictures: "PictureService",
    jobs: "JobUseCases",
    moderation: "Moderation",
) -> "UseCases":
    from bot.usecases import ChatUseCases, MediaUseCases, Operations, PeopleUseCases, UseCases

    chat = ChatUseCases(
        jobs=jobs,
        store=storage.jobs,
        media=storage.media,
        outbox=storage.outbox,
        privacy=storage.privacy,
        models=loaded.models,
    )
    return UseCases(
        jobs=jobs,
        chat=chat,
        media=MediaUseCases(storage.media, pictures, loaded.settings["images"]),
        people=PeopleUseCases(storage.people, storage.ledger, storage.privacy, loaded.models, jobs.gone),
        operations=Operations(storage.jobs, storage.maintenance, pool.statuses),
        moderation=moderation,
        models=loaded.models,
    )


def _moderation(loaded: Loaded, storage: "Storage") -> "Moderation":
    """Raises: StartupError: the file of blocked words cannot be read."""
    from bot.safety import classifier_of, read_words
    from bot.usecases import Moderation
    from inference.classifier import ClassifierFiles

    settings = loaded.settings["safety"]
    return Moderation(
        spaces=storage.spaces,
        people=storage.people,
        classifier=ClassifierFiles(classifier_of(settings)),
        settings=settings,
        words=read_words(settings.blocked_words, settings.blocked_words_file, loaded.data_dir),
    )


def is_on(loaded: Loaded, name: str) -> bool:
    """`enabled = "auto"` is on when the platform's token is set. Raises: StartupError when it is on without one."""
    from bot.errors import StartupError

    settings = loaded.settings[name]
    variable: str = getattr(settings, "secret", "")
    token = loaded.secrets.of(variable) if variable else ""
    if settings.enabled is True and variable and not token:
        raise StartupError(f"{name.capitalize()} is switched on, but {variable} is not set: set it, or switch it off.")
    return bool(token) if settings.enabled == "auto" else bool(settings.enabled)


async def serve(loaded: Loaded, *, engines: str = ENGINES) -> int:
    """Run until SIGINT or SIGTERM: then take nothing more on, let running jobs finish or go back to the queue.

    A second signal ends the process at once; nothing is lost by it. Returns the exit code.
    """
    from bot.errors import StartupError
    from bot.lock import DataLock
    from bot.usecases import Surroundings

    stop = _Stop()
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


async def _work(house: House, adapters: "list[Adapter]", stop: "_Stop", drain_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        working = group.create_task(house.dispatcher.run())
        others = [group.create_task(adapter.run()) for adapter in adapters]
        others += [group.create_task(house.deliverer.run()), group.create_task(house.upkeep.run())]
        await stop.wait()
        house.usecases.jobs.is_closing = True
        print("Stopping: running jobs may finish; press Ctrl-C again to stop at once.", file=sys.stderr, flush=True)
        await house.dispatcher.close(drain_s)
        await working
        for task in others:
            task.cancel()


class _Stop:
    """The first signal asks to stop, the second stops."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._ask)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._ask))

    def _ask(self) -> None:
        if self._asked.is_set():
            os._exit(130)
        self._asked.set()

    async def wait(self) -> None:
        await self._asked.wait()


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

    def probe_devices(self) -> Mapping[str, Any]:
        from inference.devices import probe

        return {"devices": [vars(device) for device in asyncio.run(probe())]}


def main() -> int:
    """Returns the exit code."""
    from adapters.cli import run

    return run(Composition())


if __name__ == "__main__":
    sys.exit(main())
