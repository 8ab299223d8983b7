"""Builds the use cases with their dependencies: storage, pool, hub and this machine."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from adapters.cli.ports import LoadedConfig
from adapters.webhooks.settings import webhooks_of
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.model_install.owner_config import ModelConfigFile
from bot.ports import Builds, Downloads, ImageProcessor, ModelFiles, OwnerModelConfig, Pool, RepoRef
from bot.prompts.resolver import PromptResolver
from bot.prompts.wildcards import FOLDER, WildcardFolder
from bot.queue.dispatcher import Dispatcher
from bot.queue.parts.maps import MapCache
from bot.queue.parts.plugin_texts import PluginTexts
from bot.queue.parts.ranked_pictures import BestOf
from bot.queue.postprocess import Postprocessor
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.safety import SafetySettings, classifier_spec, classifier_specs, read_words
from bot.usecases import (
    AdapterUseCases,
    ChatUseCases,
    ClientRequests,
    CollectionUseCases,
    CorrectionUseCases,
    ExportUseCases,
    GridUseCases,
    JobUseCases,
    LinkUseCases,
    MeaningSearch,
    MediaUseCases,
    ModelCatalogue,
    ModelManager,
    ModelOptimizer,
    Moderation,
    PeopleUseCases,
    PersonEvents,
    PictureUseCases,
    PluginRequests,
    PromptNames,
    RecipeUseCases,
    SessionUseCases,
    Thumbnails,
    UseCases,
    VectorUseCases,
)
from bot.usecases.fused_builds import FusedBuilds
from bot.usecases.grid_chat import GridChat
from bot.usecases.key_links import KeyLinks
from bot.usecases.mask_check import MaskCheck
from bot.usecases.refused_requests import RefusedRequests
from bot.usecases.trainings import Trainings
from composition.administration import build_operations, build_report_use_cases, build_server_admin
from composition.parts import build_finishes, build_preparations
from composition.settings import shipped_models
from inference.backends.builder_client import BuilderClient
from inference.backends.builds import FOLDER as BUILDS
from inference.checkpoints.library import ModelLibrary
from inference.checkpoints.token_counter import TokenizerFiles
from inference.hardware.machine import MachineProbe
from inference.hub.client import HubClient
from inference.safety.availability import ClassifierAvailability
from storage import Storage


@dataclass(frozen=True, kw_only=True)
class ModelSources:
    """Where models come from, where they are stored, and the machine that has to run them.

    Attributes:
        sample_image: an input image for smoke tests of new models.
    """

    downloads: Downloads
    files: ModelFiles
    builds: Builds
    owner_config: OwnerModelConfig
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    sample_image: Callable[[], Media]


def default_model_sources(loaded: LoadedConfig) -> ModelSources:
    """The hub, the data directory and this machine."""
    return ModelSources(
        downloads=HubClient(token=loaded.secrets.get("HF_TOKEN"), civitai_token=loaded.secrets.get("CIVITAI_TOKEN")),
        files=ModelLibrary(loaded.data_dir),
        builds=BuilderClient(loaded.data_dir / BUILDS, getattr(loaded.settings.get("pool"), "threads", 0)),
        owner_config=ModelConfigFile(loaded.data_dir, shipped_models),
        machine_spec=MachineProbe(loaded.data_dir, getattr(loaded.settings.get("pool"), "max_loaded_models", 4)),
        sample_image=lambda: Media((loaded.root / "models" / "sample.png").read_bytes(), "image/png"),
    )


def build_use_cases(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    pictures: ImageProcessor,
    jobs: JobUseCases,
    progress_bus: ProgressBus,
    moderation: Moderation,
    model_manager: ModelManager,
    optimizer: ModelOptimizer,
    catalogue: ModelCatalogue,
    prompt_resolver: PromptResolver,
    device_of: Callable[[str], str],
    trainings: Trainings,
    corrections: CorrectionUseCases,
    adapters: AdapterUseCases,
    search: MeaningSearch,
    vectors: VectorUseCases,
    plugins: PluginRequests,
) -> UseCases:
    """All use cases that adapters may call."""
    people = PeopleUseCases(
        storage.people, storage.ledger, storage.privacy, loaded.models, jobs.on_erased, search.forget
    )
    own_pictures = PictureUseCases(jobs=jobs, store=storage.jobs, pictures=storage.pictures, privacy=storage.privacy)
    key_links = KeyLinks(storage.key_links)
    thumbnails = Thumbnails(storage.media, pictures)
    grids = GridUseCases(
        batches=storage.batches, jobs=jobs, media=storage.media, images=pictures, thumbnails=thumbnails
    )
    grid_chat = _build_grid_chat(storage, jobs, pictures, grids)
    return UseCases(
        jobs=jobs,
        client_requests=ClientRequests(jobs, storage.jobs),
        events=PersonEvents(storage.changes, jobs, progress_bus),
        chat=_build_chat(loaded, storage, jobs),
        media=MediaUseCases(storage.media, pictures, loaded.settings["images"], loaded.settings["quota"]),
        exports=ExportUseCases(storage.jobs, storage.history, storage.media, moderation, grid_chat),
        pictures=own_pictures,
        grids=grids,
        grid_chat=grid_chat,
        collections=CollectionUseCases(storage.collections),
        search=search,
        vectors=vectors,
        corrections=corrections,
        adapters=adapters,
        people=people,
        links=LinkUseCases(storage.links, people, loaded.settings["quota"]),
        sessions=SessionUseCases(people, storage.sessions, key_links),
        thumbnails=thumbnails,
        operations=build_operations(loaded, storage, pool),
        moderation=moderation,
        models=loaded.models,
        model_manager=model_manager,
        optimizer=optimizer,
        trainings=trainings,
        catalogue=catalogue,
        names=PromptNames(prompt_resolver, loaded.models),
        recipes=_build_recipes(loaded, storage, prompt_resolver),
        reports=build_report_use_cases(storage, own_pictures),
        admin=build_server_admin(loaded, storage, jobs, people, device_of),
        key_links=key_links,
        plugins=plugins,
        styles=tuple(loaded.settings["styles"]),
    )


def _build_chat(loaded: LoadedConfig, storage: Storage, jobs: JobUseCases) -> ChatUseCases:
    return ChatUseCases(
        jobs=jobs,
        store=storage.jobs,
        media=storage.media,
        outbox=storage.outbox,
        privacy=storage.privacy,
        models=loaded.models,
    )


def _build_grid_chat(storage: Storage, jobs: JobUseCases, pictures: ImageProcessor, grids: GridUseCases) -> GridChat:
    return GridChat(
        grids=grids,
        batches=storage.batches,
        jobs=jobs,
        media=storage.media,
        images=pictures,
        outbox=storage.outbox,
        privacy=storage.privacy,
    )


def _build_recipes(loaded: LoadedConfig, storage: Storage, prompt_resolver: PromptResolver) -> RecipeUseCases:
    return RecipeUseCases(
        store=storage.jobs,
        media=storage.media,
        models=loaded.models,
        list_addons=prompt_resolver.list_addons,
        styles=tuple(loaded.settings["styles"]),
    )


def build_dispatcher(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    pictures: ImageProcessor,
    rates: Rates,
    progress_bus: ProgressBus,
    moderation: Moderation,
    prompt_resolver: PromptResolver,
    maps: MapCache,
    adapters: AdapterUseCases,
    plugin_texts: PluginTexts,
    *,
    only_submitted: bool,
) -> Dispatcher:
    """Running jobs, with their parts."""
    best = BestOf(models=loaded.models, pool=pool)
    return Dispatcher(
        store=storage.jobs,
        media=storage.media,
        measurements=storage.measurements,
        pool=pool,
        models=loaded.models,
        rates=rates,
        postprocessor=Postprocessor(media=storage.media, pool=pool, image_processor=pictures, models=loaded.models),
        moderation=moderation,
        prompt_resolver=prompt_resolver,
        progress_bus=progress_bus,
        settings=loaded.settings["queue"],
        preparations=build_preparations(loaded.models, pictures, maps),
        finishes=build_finishes(loaded.models, pictures, maps, best),
        chooser=best,
        adapters=adapters,
        metrics=storage.metrics,
        plugin_texts=plugin_texts,
        only_submitted=only_submitted,
    )


def build_job_use_cases(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    rates: Rates,
    progress_bus: ProgressBus,
    moderation: Moderation,
    prompt_resolver: PromptResolver,
    wake: Callable[[Iterable[str]], None],
    interrupt: Callable[[str], None],
    secret: str,
    pictures: ImageProcessor,
    maps: MapCache,
    adapters: AdapterUseCases,
    plugins: PluginRequests,
) -> JobUseCases:
    """Accepting, following and cancelling jobs. `secret` signs quotes."""
    return JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=loaded.models,
        rates=rates,
        progress_bus=progress_bus,
        moderation=moderation,
        queue=loaded.settings["queue"],
        quota=loaded.settings["quota"],
        wake=wake,
        interrupt=interrupt,
        devices=pool.device_statuses,
        secret=secret.encode(),
        prompt_resolver=prompt_resolver,
        mask_check=MaskCheck(storage.media, pictures),
        changes=storage.changes,
        forget_maps=maps.clear,
        token_counter=TokenizerFiles(),
        refused=RefusedRequests(storage.refusals),
        adapters=adapters,
        plugins=plugins,
        webhooks=tuple(webhooks_of(loaded.settings)),
    )


def build_model_manager(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    rates: Rates,
    events: ProgressBus,
    wake: Callable[[Iterable[str]], None],
    sources: ModelSources,
) -> ModelManager:
    """Installing and enabling models."""
    return ModelManager(
        models=loaded.models,
        downloads=sources.downloads,
        pool=pool,
        owner_config=sources.owner_config,
        store=storage.jobs,
        measurements=storage.measurements,
        rates=rates,
        progress_bus=events,
        sample_image=sources.sample_image,
        machine_spec=sources.machine_spec,
        wake=wake,
        extra_repos=_classifier_repos(loaded),
        read_prequantized=sources.files.read_prequantized,
    )


def build_model_optimizer(
    loaded: LoadedConfig, pool: Pool, sources: ModelSources, model_manager: ModelManager
) -> ModelOptimizer:
    """Compiling models."""
    return ModelOptimizer(
        models=loaded.models,
        manager=model_manager,
        builds=sources.builds,
        pool=pool,
        owner_config=sources.owner_config,
        machine_spec=sources.machine_spec,
        sample_image=sources.sample_image,
    )


def build_fused_builds(
    loaded: LoadedConfig,
    pool: Pool,
    sources: ModelSources,
    model_manager: ModelManager,
    prompt_resolver: PromptResolver,
) -> FusedBuilds:
    """Builds with LoRAs, in the background."""
    return FusedBuilds(
        models=loaded.models,
        manager=model_manager,
        builds=sources.builds,
        pool=pool,
        prompt_resolver=prompt_resolver,
        machine_spec=sources.machine_spec,
        sample_image=sources.sample_image,
    )


def build_model_catalogue(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    wake: Callable[[Iterable[str]], None],
    sources: ModelSources,
    model_manager: ModelManager,
    adapters: AdapterUseCases,
) -> ModelCatalogue:
    """Adding and removing models."""
    return ModelCatalogue(
        files=sources.files,
        downloads=sources.downloads,
        registry=loaded.models,
        owner_config=sources.owner_config,
        pool=pool,
        store=storage.jobs,
        wake=wake,
        cancel_install=model_manager.cancel_running_install,
        remove_builds=sources.builds.remove,
        adapters=adapters,
        extra_repos=_classifier_repos(loaded),
    )


def _classifier_repos(loaded: LoadedConfig) -> list[RepoRef]:
    classifier = classifier_spec(loaded.settings["safety"])
    is_on_hub = classifier.repo and not classifier.is_local
    return [RepoRef(repo=classifier.repo, revision=classifier.revision)] if is_on_hub else []


def build_prompt_resolver(loaded: LoadedConfig, adapters: AdapterUseCases) -> PromptResolver:
    """Prompts, with the owner's styles, wildcards and LoRAs."""
    library = ModelLibrary(loaded.data_dir)
    return PromptResolver(
        styles=loaded.settings["styles"],
        wildcards=WildcardFolder(loaded.data_dir / FOLDER),
        list_addons=lambda: [*library.list_addons(), *adapters.list_loras()],
    )


def build_moderation(loaded: LoadedConfig, storage: Storage) -> Moderation:
    """Raises: StartupError: the file of blocked words cannot be read."""
    settings: SafetySettings = loaded.settings["safety"]
    return Moderation(
        spaces=storage.spaces,
        people=storage.people,
        classifier=ClassifierAvailability(classifier_specs(settings)),
        settings=settings,
        words=read_words(settings.blocked_words, settings.blocked_words_file, loaded.data_dir),
    )
