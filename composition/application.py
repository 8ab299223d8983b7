"""The application: storage, pool and core, wired and recovered, but not yet running."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from adapters.cli.ports import LoadedConfig
from composition.settings import ENGINES

if TYPE_CHECKING:
    from bot.plugins.plugin_manager import PluginManager
    from bot.ports import ImageProcessor, Measurement, Platform, Pool, WorkMetrics
    from bot.queue.delivery import Deliverer
    from bot.queue.dispatcher import Dispatcher
    from bot.queue.plugin_deliveries import PluginDeliveries
    from bot.queue.pricing import Rates
    from bot.queue.retention import RetentionJob
    from bot.queue.sampler import MetricSampler
    from bot.usecases import UseCases
    from bot.usecases.fused_builds import FusedBuilds
    from bot.usecases.picture_embedding import PictureEmbedder
    from composition.usecases import ModelSources
    from inference.images.service import ImageService
    from inference.pool.early_worker import EarlyWorker
    from inference.pool.pool import DevicePool
    from inference.settings import PoolSettings
    from storage import Storage


@dataclass(frozen=True, kw_only=True)
class Application:
    """All services, wired."""

    usecases: "UseCases"
    dispatcher: "Dispatcher"
    deliverer: "Deliverer"
    retention: "RetentionJob"
    sampler: "MetricSampler"
    fused_builds: "FusedBuilds"
    picture_embedder: "PictureEmbedder"
    deliveries: "PluginDeliveries"
    storage: "Storage"


@asynccontextmanager
async def open_application(
    loaded: LoadedConfig,
    *,
    secret: str,
    only_submitted: bool = False,
    platforms: Mapping[str, "Platform"] | None = None,
    engines: str = ENGINES,
    metrics: "WorkMetrics | None" = None,
) -> AsyncIterator[Application]:
    """Open and recover storage, pool and core; `Application.dispatcher.run_forever()` starts the work.

    The data directory's lock must be held.
    """
    from bot.model_install.owner_config import ModelConfigFile
    from bot.ports import NO_METRICS
    from bot.queue.pricing import Rates
    from bot.queue.recovery import recover_jobs
    from composition.plugins import build_plugins
    from composition.settings import shipped_models
    from inference.backends.builds import FOLDER as BUILDS
    from inference.backends.builds import remove_unfinished
    from inference.images.service import ImageService, ImageSettings

    settings = loaded.settings
    remove_unfinished(loaded.data_dir / BUILDS)
    async with AsyncExitStack() as stack:
        early = await _start_worker(loaded, engines, only_submitted=only_submitted)
        if early is not None:
            stack.push_async_callback(early.close)
        from storage import open_storage  # takes longer than to start a process

        opening = open_storage(settings["storage"], loaded.data_dir, metrics or NO_METRICS)
        storage = await stack.enter_async_context(opening)
        if not only_submitted:
            ModelConfigFile(loaded.data_dir, shipped_models).restore_pending(loaded.models)
            most = settings["queue"].max_interruptions
            await recover_jobs(storage.jobs, loaded.models, max_interruptions=most, metrics=storage.metrics)
        for name, form in (await storage.measurements.load_capabilities()).items():
            loaded.models.set_capabilities(name, form)
        limits = ImageSettings(
            max_mb=settings["images"].max_upload_mb,
            max_megapixels=settings["images"].max_megapixels,
            max_heic_mb=settings["images"].max_heic_mb,
            max_heic_megapixels=settings["images"].max_heic_megapixels,
        )
        pictures = await stack.enter_async_context(ImageService(limits))
        warm_up = settings["pool"].warm_up and not only_submitted
        pool_settings = replace(settings["pool"], warm_up=warm_up)  # a single command loads just what it needs
        plugins = await stack.enter_async_context(build_plugins(loaded))
        measured = await storage.measurements.load_measurements()
        pool = await stack.enter_async_context(
            await _device_pool(loaded, pool_settings, pictures, engines, measured, plugins, early)
        )
        plugins.on_switched = pool.refresh_plugins
        rates = Rates(measured, lambda: next((one.device for one in pool.device_statuses()), ""))
        application = wire_application(
            loaded,
            storage,
            pool,
            pictures,
            rates,
            platforms,
            secret=secret,
            only_submitted=only_submitted,
            plugins=plugins,
        )
        stack.push_async_callback(application.deliveries.close)
        await application.usecases.corrections.finish_withdrawals()
        await application.usecases.adapters.refresh()
        yield application


async def _start_worker(loaded: LoadedConfig, engines: str, *, only_submitted: bool) -> "EarlyWorker | None":
    """The worker of a machine without a graphics card: importing its libraries takes longer than starting the server.

    It imports the engine of the model that is loaded first, or only torch where a single command decides which.
    """
    from inference.engine.base import engine_module
    from inference.pool.early_worker import EarlyWorker, is_cpu_only

    models = loaded.models.installed()
    if engines != ENGINES or not models or not is_cpu_only(loaded.settings["devices"].use):
        return None
    has_warm_up = loaded.settings["pool"].warm_up and not only_submitted
    try:
        return await EarlyWorker.start(loaded.settings["pool"], engine_module(models[0]) if has_warm_up else "torch")
    except OSError:
        return None  # the pool starts its own, and says what is wrong


async def _device_pool(
    loaded: LoadedConfig,
    settings: "PoolSettings",
    pictures: "ImageService",
    engines: str,
    measured: "Sequence[Measurement]",
    plugins: "PluginManager",
    early: "EarlyWorker | None" = None,
) -> "DevicePool":
    """The pool. With `devices.use = "auto"`, the hardware is probed in the background."""
    from bot.safety import classifier_specs
    from inference.hardware.devices import configured_devices
    from inference.pool.pool import DevicePool

    chosen = loaded.settings["devices"]
    find = partial(configured_devices, chosen)
    devices = find if chosen.use == "auto" else await find()
    return DevicePool(
        settings,
        devices,
        loaded.models.installed(),
        pictures,
        engine_factory=engines,
        classifiers=classifier_specs(loaded.settings["safety"]),
        early=early,
        measurements=measured,
        plugins=plugins,
    )


def wire_application(
    loaded: LoadedConfig,
    storage: "Storage",
    pool: "Pool",
    pictures: "ImageProcessor",
    rates: "Rates",
    platforms: Mapping[str, "Platform"] | None = None,
    *,
    secret: str,
    only_submitted: bool = False,
    sources: "ModelSources | None" = None,
    plugins: "PluginManager | None" = None,
) -> Application:
    """Wire the core over an open storage and pool. `secret` signs quotes.

    Args:
        only_submitted: runs only the jobs that are submitted through this application.
        sources: where models come from; the hub and this machine when not given.
        plugins: those that run; none when not given.
    """
    from bot.queue.parts.maps import MapCache
    from bot.queue.progress import ProgressBus
    from composition import usecases as build
    from composition.administration import build_sampler
    from composition.deliveries import WakeUp, build_deliverer, notify_each
    from composition.learning import build_adapters, build_learning
    from composition.plugins import build_plugins, connect_plugins
    from composition.searching import build_searching

    loaded = _run_every_job(loaded) if only_submitted else loaded
    events, maps = ProgressBus(), MapCache()
    sources = sources or build.default_model_sources(loaded)
    adapters = build_adapters(loaded, storage, pool, sources)
    moderation, prompt_resolver = build.build_moderation(loaded, storage), build.build_prompt_resolver(loaded, adapters)
    own_plugins = connect_plugins(plugins or build_plugins(loaded), storage.media, moderation, prompt_resolver)
    deliverer = build_deliverer(loaded, storage, events, platforms or {}, own_plugins.deliveries.observe)
    dispatcher = build.build_dispatcher(
        loaded, storage, pool, pictures, rates, events, moderation, prompt_resolver, maps, adapters,
        own_plugins.texts, only_submitted=only_submitted,
    )  # fmt: skip
    sampler, wake = build_sampler(storage, pool), WakeUp(dispatcher, [deliverer.wake])
    jobs = build.build_job_use_cases(
        loaded, storage, pool, rates, events, moderation, prompt_resolver, wake, dispatcher.interrupt_job, secret,
        pictures, maps, adapters, own_plugins.requests,
    )  # fmt: skip
    model_manager = build.build_model_manager(loaded, storage, pool, rates, events, wake, sources)
    optimizer = build.build_model_optimizer(loaded, pool, sources, model_manager)
    fused_builds = build.build_fused_builds(loaded, pool, sources, model_manager, prompt_resolver)
    catalogue = build.build_model_catalogue(loaded, storage, pool, wake, sources, model_manager, adapters)
    trainings, corrections = build_learning(loaded, storage, pool, pictures, sources, moderation, adapters)
    search, vectors, picture_embedder = build_searching(loaded, storage, pool, jobs, dispatcher, sources)
    usecases = build.build_use_cases(
        loaded, storage, pool, pictures, jobs, events, moderation, model_manager, optimizer, catalogue,
        prompt_resolver, dispatcher.device_of, trainings, corrections, adapters, search, vectors, own_plugins.requests,
    )  # fmt: skip
    wake.others.append(usecases.grids.wake)
    deliverer.connect_grids(usecases.grid_chat)
    background = () if only_submitted else (fused_builds.observe, picture_embedder.observe)
    dispatcher.on_finished = notify_each(sampler.observe, own_plugins.deliveries.observe, *background, wake.on_ended)
    return Application(
        usecases=usecases,
        dispatcher=dispatcher,
        deliverer=deliverer,
        retention=_retention_job(loaded, storage),
        sampler=sampler,
        fused_builds=fused_builds,
        picture_embedder=picture_embedder,
        deliveries=own_plugins.deliveries,
        storage=storage,
    )


def _run_every_job(loaded: LoadedConfig) -> LoadedConfig:
    from bot.queue.dispatcher import EVERY_JOB

    queue = replace(loaded.settings["queue"], max_running=EVERY_JOB)
    return replace(loaded, settings={**loaded.settings, "queue": queue})


def _retention_job(loaded: LoadedConfig, storage: "Storage") -> "RetentionJob":
    from bot.queue.retention import RetentionJob

    return RetentionJob(
        media=storage.media,
        inbox=storage.inbox,
        privacy=storage.privacy,
        images=loaded.settings["images"],
        retention=loaded.settings["retention"],
    )
