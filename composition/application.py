"""The application: storage, pool and core, wired and recovered, but not yet working."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from adapters.cli.ports import Loaded
from composition.settings import ENGINES

if TYPE_CHECKING:
    from bot.ports import Measured, Pictures, Platform, Pool
    from bot.queue.delivery import Deliverer
    from bot.queue.dispatcher import Dispatcher
    from bot.queue.pricing import Rates
    from bot.queue.retention import Upkeep
    from bot.usecases import UseCases
    from composition.usecases import ModelSources
    from inference.images.service import PictureService
    from inference.pool.pool import DevicePool
    from inference.settings import PoolSettings
    from storage import Storage


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything that runs, wired."""

    usecases: "UseCases"
    dispatcher: "Dispatcher"
    deliverer: "Deliverer"
    upkeep: "Upkeep"
    storage: "Storage"


@asynccontextmanager
async def open_application(
    loaded: Loaded,
    *,
    secret: str,
    only_own: bool = False,
    platforms: Mapping[str, "Platform"] | None = None,
    engines: str = ENGINES,
) -> AsyncIterator[Application]:
    """Storage, pool and core, open and recovered but not yet working: `Application.dispatcher.run()` does that.

    The data directory's lock must be held.
    """
    from bot.model_install.owner_config import OwnersChoices
    from bot.queue.pricing import Rates
    from bot.queue.recovery import recover
    from composition.settings import shipped_models
    from inference.images.service import PictureService, PictureSettings
    from storage import open_storage

    settings = loaded.settings
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(settings["storage"], loaded.data_dir))
        if not only_own:
            OwnersChoices(loaded.data_dir, shipped_models).expect(loaded.models)
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
        pool = await stack.enter_async_context(await _device_pool(loaded, pool_settings, pictures, engines, measured))
        rates = Rates(measured, lambda: next((one.device for one in pool.statuses()), ""))
        yield wire_application(loaded, storage, pool, pictures, rates, platforms, secret=secret, only_own=only_own)


async def _device_pool(
    loaded: Loaded,
    settings: "PoolSettings",
    pictures: "PictureService",
    engines: str,
    measured: "Sequence[Measured]",
) -> "DevicePool":
    """The pool. With `devices.use = "auto"` the hardware is probed while the page already answers."""
    from bot.safety import classifier_of
    from inference.hardware.devices import configured_devices
    from inference.pool.pool import DevicePool

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


def wire_application(
    loaded: Loaded,
    storage: "Storage",
    pool: "Pool",
    pictures: "Pictures",
    rates: "Rates",
    platforms: Mapping[str, "Platform"] | None = None,
    *,
    secret: str,
    only_own: bool = False,
    sources: "ModelSources | None" = None,
) -> Application:
    """The core, put together over an open storage and pool.

    Args:
        secret: signs quotes.
        only_own: runs only the jobs that are submitted through this application.
        sources: where models come from; the hub and this machine when not given.
    """
    from bot.queue.delivery import Deliverer
    from bot.queue.dispatcher import Dispatcher
    from bot.queue.postprocess import Finishing
    from bot.queue.progress import Events
    from bot.queue.retention import Upkeep
    from bot.usecases import JobUseCases
    from composition import usecases as build

    settings, models, events = loaded.settings, loaded.models, Events()
    moderation, wording = build.moderation(loaded, storage), build.wording(loaded)
    deliverer = Deliverer(outbox=storage.outbox, media=storage.media, events=events, platforms=platforms or {})
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
    sources = sources or build.model_sources(loaded)
    choosing = build.model_use_cases(loaded, storage, pool, rates, events, wake, sources)
    upkeep = Upkeep(
        media=storage.media,
        inbox=storage.inbox,
        privacy=storage.privacy,
        images=settings["images"],
        retention=settings["retention"],
    )
    return Application(
        usecases=build.use_cases(loaded, storage, pool, pictures, jobs, moderation, choosing),
        dispatcher=dispatcher,
        deliverer=deliverer,
        upkeep=upkeep,
        storage=storage,
    )
