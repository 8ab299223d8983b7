"""The use cases: everything that adapters may call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bot.models import ModelRegistry
from bot.ports import Inbox
from bot.usecases.access import KEYLESS
from bot.usecases.account_links import LinkUseCases
from bot.usecases.adapters import AdapterUseCases
from bot.usecases.chat import ChatUseCases
from bot.usecases.client_requests import ClientRequests
from bot.usecases.collecting import CollectionUseCases
from bot.usecases.corrections import CorrectionUseCases
from bot.usecases.grid_chat import GridChat
from bot.usecases.grids import BatchView, GridUseCases
from bot.usecases.image_export import ExportUseCases
from bot.usecases.jobs import JobUseCases
from bot.usecases.key_links import KeyLinks
from bot.usecases.meaning_search import FoundPage, MeaningSearch
from bot.usecases.media import MediaUseCases
from bot.usecases.model_catalogue import ModelCatalogue
from bot.usecases.model_manager import ModelManager
from bot.usecases.model_optimizing import ModelOptimizer
from bot.usecases.moderation import Moderation, SpaceRules
from bot.usecases.operations import Operations
from bot.usecases.people import PeopleUseCases, Quota
from bot.usecases.person_events import PersonEvent, PersonEvents
from bot.usecases.pictures import PictureUseCases
from bot.usecases.plugin_requests import PluginAnswer, PluginRequests
from bot.usecases.prompt_names import NamedAddon, NamedStyle, NamedWildcard, PromptNames
from bot.usecases.recipes import Recipe, RecipeUseCases
from bot.usecases.reports import ReportUseCases
from bot.usecases.requests import JobEvent, Quote, Request, Ticket
from bot.usecases.server_admin import ServerAdmin
from bot.usecases.sessions import SessionUseCases
from bot.usecases.thumbnails import Thumbnails
from bot.usecases.trainings import Trainings
from bot.usecases.vectors import VectorUseCases


@dataclass(frozen=True, kw_only=True)
class UseCases:
    """All use cases, as adapters receive them."""

    jobs: JobUseCases
    client_requests: ClientRequests
    events: PersonEvents
    chat: ChatUseCases
    media: MediaUseCases
    exports: ExportUseCases
    pictures: PictureUseCases
    grids: GridUseCases
    grid_chat: GridChat
    collections: CollectionUseCases
    search: MeaningSearch
    vectors: VectorUseCases
    corrections: CorrectionUseCases
    people: PeopleUseCases
    links: LinkUseCases
    sessions: SessionUseCases
    thumbnails: Thumbnails
    operations: Operations
    moderation: Moderation
    models: ModelRegistry
    model_manager: ModelManager
    optimizer: ModelOptimizer
    trainings: Trainings
    catalogue: ModelCatalogue
    adapters: AdapterUseCases
    recipes: RecipeUseCases
    names: PromptNames
    reports: ReportUseCases
    admin: ServerAdmin
    key_links: KeyLinks
    plugins: PluginRequests
    styles: tuple[str, ...] = ()
    """Names of the configured styles."""


@dataclass(frozen=True, kw_only=True)
class AdapterContext:
    """What an adapter receives from the composition root.

    Attributes:
        secret: the secret of the lock file; a caller that presents it is the local person.
        announce: prints one line on the owner's terminal ("The page: http://127.0.0.1:8000/").
        publish_address: writes the server's address into the lock file, where one-shot commands find it.
        inbox: stores platform events until they are handled.
        read_secret: returns a secret by its variable ("DISCORD_TOKEN"); empty if it is not set.
    """

    usecases: UseCases
    data_dir: Path
    secret: str
    announce: Callable[[str], None]
    publish_address: Callable[[str], None]
    inbox: Inbox
    read_secret: Callable[[str], str]


__all__ = [
    "KEYLESS",
    "AdapterContext",
    "AdapterUseCases",
    "BatchView",
    "ChatUseCases",
    "ClientRequests",
    "CollectionUseCases",
    "CorrectionUseCases",
    "ExportUseCases",
    "FoundPage",
    "GridUseCases",
    "JobEvent",
    "JobUseCases",
    "KeyLinks",
    "LinkUseCases",
    "MeaningSearch",
    "MediaUseCases",
    "ModelCatalogue",
    "ModelManager",
    "ModelOptimizer",
    "Moderation",
    "NamedAddon",
    "NamedStyle",
    "NamedWildcard",
    "Operations",
    "PeopleUseCases",
    "PersonEvent",
    "PersonEvents",
    "PictureUseCases",
    "PluginAnswer",
    "PluginRequests",
    "PromptNames",
    "Quota",
    "Quote",
    "Recipe",
    "RecipeUseCases",
    "ReportUseCases",
    "Request",
    "ServerAdmin",
    "SessionUseCases",
    "SpaceRules",
    "Thumbnails",
    "Ticket",
    "Trainings",
    "UseCases",
    "VectorUseCases",
]
