"""Use cases put together for the composition root, with what looks at models and pictures."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bot.choices import OwnersChoices
from bot.events import Events
from bot.jobs import Media
from bot.models import Models, ModelSpec
from bot.ports import (
    JobStore,
    Learned,
    Ledger,
    Maintenance,
    MediaStore,
    Outbox,
    People,
    Pictures,
    Pool,
    Privacy,
    Spaces,
    Wanted,
)
from bot.pricing import Rates
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
from bot.wildcards import FOLDER, WildcardFolder
from bot.wording import Wording
from inference.classifier import ClassifierFiles
from inference.fetching import HubDownloads
from inference.hardware import Machine
from inference.model_files import ModelFiles


class Loaded(Protocol):
    """What is needed of the settings."""

    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def secrets(self) -> Any: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def root(self) -> Path: ...
    @property
    def models(self) -> Models: ...


class Stores(Protocol):
    """What is needed of the storage."""

    @property
    def jobs(self) -> JobStore: ...
    @property
    def learned(self) -> Learned: ...
    @property
    def spaces(self) -> Spaces: ...
    @property
    def people(self) -> People: ...
    @property
    def media(self) -> MediaStore: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def privacy(self) -> Privacy: ...
    @property
    def maintenance(self) -> Maintenance: ...


def usecases(
    loaded: Loaded,
    stores: Stores,
    pool: Pool,
    pictures: Pictures,
    jobs: JobUseCases,
    moderation: Moderation,
    choosing: ModelUseCases,
) -> UseCases:
    """All that adapters may call."""
    chat = ChatUseCases(
        jobs=jobs,
        store=stores.jobs,
        media=stores.media,
        outbox=stores.outbox,
        privacy=stores.privacy,
        models=loaded.models,
    )
    return UseCases(
        jobs=jobs,
        chat=chat,
        media=MediaUseCases(stores.media, pictures, loaded.settings["images"]),
        people=PeopleUseCases(stores.people, stores.ledger, stores.privacy, loaded.models, jobs.gone),
        operations=Operations(stores.jobs, stores.maintenance, pool.statuses),
        moderation=moderation,
        models=loaded.models,
        choosing=choosing,
        catalogue=CatalogueUseCases(choosing),
        styles=tuple(loaded.settings["styles"]),
    )


def choosing(
    loaded: Loaded,
    stores: Stores,
    pool: Pool,
    rates: Rates,
    events: Events,
    wake: Callable[[Iterable[str]], None],
    shipped: Callable[[], Mapping[str, ModelSpec]],
) -> ModelUseCases:
    """Choosing models, with the hub, this machine's disk and its hardware."""
    classifier = classifier_of(loaded.settings["safety"])
    also = [Wanted(repo=classifier.repo, revision=classifier.revision)]
    return ModelUseCases(
        models=loaded.models,
        downloads=HubDownloads(token=loaded.secrets.of("HF_TOKEN")),
        pool=pool,
        choices=OwnersChoices(loaded.data_dir, shipped),
        files=ModelFiles(loaded.data_dir),
        store=stores.jobs,
        learned=stores.learned,
        rates=rates,
        events=events,
        sample=lambda: Media((loaded.root / "models" / "sample.png").read_bytes(), "image/png"),
        hardware=Machine(loaded.data_dir),
        wake=wake,
        also=also if classifier.repo and not classifier.is_local else (),
    )


def wording(loaded: Loaded) -> Wording:
    """Prompts, with the owner's styles and what lies in the data directory."""
    return Wording(
        styles=loaded.settings["styles"],
        wildcards=WildcardFolder(loaded.data_dir / FOLDER),
        additions=ModelFiles(loaded.data_dir).additions,
    )


def moderation(loaded: Loaded, stores: Stores) -> Moderation:
    """Raises: StartupError: the file of blocked words cannot be read."""
    settings: SafetySettings = loaded.settings["safety"]
    return Moderation(
        spaces=stores.spaces,
        people=stores.people,
        classifier=ClassifierFiles(classifier_of(settings)),
        settings=settings,
        words=read_words(settings.blocked_words, settings.blocked_words_file, loaded.data_dir),
    )
