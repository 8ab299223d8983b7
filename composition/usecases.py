"""The use cases, with what they need of the storage, the pool, the hub and this machine."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from adapters.cli.ports import Loaded
from bot.jobs import Media
from bot.memory.fit import Hardware
from bot.model_install.owner_config import OwnersChoices
from bot.ports import Choices, Downloads, Pictures, Pool, Wanted
from bot.ports import ModelFiles as ModelFilesPort
from bot.prompts.resolver import Wording
from bot.prompts.wildcards import FOLDER, WildcardFolder
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.safety import SafetySettings, classifier_of, read_words
from bot.usecases import (
    CatalogueUseCases,
    ChatUseCases,
    JobUseCases,
    MediaUseCases,
    ModelUseCases,
    Moderation,
    Operations,
    PeopleUseCases,
    UseCases,
)
from composition.settings import shipped_models
from inference.checkpoints.library import ModelFiles
from inference.hardware.machine import Machine
from inference.hub.client import HubDownloads
from inference.safety.checker import ClassifierFiles
from storage import Storage


@dataclass(frozen=True, kw_only=True)
class ModelSources:
    """Where models come from, where they are stored, and the machine that has to run them.

    Attributes:
        sample: an image on which a new model is tried.
    """

    downloads: Downloads
    files: ModelFilesPort
    choices: Choices
    hardware: Callable[[], Awaitable[Hardware]]
    sample: Callable[[], Media]


def model_sources(loaded: Loaded) -> ModelSources:
    """The hub, the data directory and this machine."""
    return ModelSources(
        downloads=HubDownloads(token=loaded.secrets.of("HF_TOKEN")),
        files=ModelFiles(loaded.data_dir),
        choices=OwnersChoices(loaded.data_dir, shipped_models),
        hardware=Machine(loaded.data_dir),
        sample=lambda: Media((loaded.root / "models" / "sample.png").read_bytes(), "image/png"),
    )


def use_cases(
    loaded: Loaded,
    storage: Storage,
    pool: Pool,
    pictures: Pictures,
    jobs: JobUseCases,
    moderation: Moderation,
    choosing: ModelUseCases,
) -> UseCases:
    """All that adapters may call."""
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
        choosing=choosing,
        catalogue=CatalogueUseCases(choosing),
        styles=tuple(loaded.settings["styles"]),
    )


def model_use_cases(
    loaded: Loaded,
    storage: Storage,
    pool: Pool,
    rates: Rates,
    events: Events,
    wake: Callable[[Iterable[str]], None],
    sources: ModelSources,
) -> ModelUseCases:
    """Installing and removing models."""
    classifier = classifier_of(loaded.settings["safety"])
    also = [Wanted(repo=classifier.repo, revision=classifier.revision)]
    return ModelUseCases(
        models=loaded.models,
        downloads=sources.downloads,
        pool=pool,
        choices=sources.choices,
        files=sources.files,
        store=storage.jobs,
        learned=storage.learned,
        rates=rates,
        events=events,
        sample=sources.sample,
        hardware=sources.hardware,
        wake=wake,
        also=also if classifier.repo and not classifier.is_local else (),
    )


def wording(loaded: Loaded) -> Wording:
    """Prompts, with the owner's styles, wildcards and LoRAs."""
    return Wording(
        styles=loaded.settings["styles"],
        wildcards=WildcardFolder(loaded.data_dir / FOLDER),
        additions=ModelFiles(loaded.data_dir).additions,
    )


def moderation(loaded: Loaded, storage: Storage) -> Moderation:
    """Raises: StartupError: the file of blocked words cannot be read."""
    settings: SafetySettings = loaded.settings["safety"]
    return Moderation(
        spaces=storage.spaces,
        people=storage.people,
        classifier=ClassifierFiles(classifier_of(settings)),
        settings=settings,
        words=read_words(settings.blocked_words, settings.blocked_words_file, loaded.data_dir),
    )
