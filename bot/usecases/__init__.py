"""The use cases: everything that adapters may call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bot.models import ModelRegistry
from bot.ports import Inbox
from bot.usecases.access import KEYLESS
from bot.usecases.chat import ChatUseCases
from bot.usecases.image_export import ExportUseCases
from bot.usecases.jobs import JobUseCases
from bot.usecases.media import MediaUseCases
from bot.usecases.model_catalogue import ModelCatalogue
from bot.usecases.model_manager import ModelManager
from bot.usecases.moderation import Moderation, SpaceRules
from bot.usecases.operations import Operations
from bot.usecases.people import PeopleUseCases, Quota
from bot.usecases.pictures import PictureUseCases
from bot.usecases.prompt_names import NamedAddon, NamedStyle, NamedWildcard, PromptNames
from bot.usecases.recipes import Recipe, RecipeUseCases
from bot.usecases.requests import JobEvent, Quote, Request, Ticket
from bot.usecases.sessions import SessionUseCases
from bot.usecases.thumbnails import Thumbnails


@dataclass(frozen=True, kw_only=True)
class UseCases:
    """All use cases, as adapters receive them."""

    jobs: JobUseCases
    chat: ChatUseCases
    media: MediaUseCases
    exports: ExportUseCases
    pictures: PictureUseCases
    people: PeopleUseCases
    sessions: SessionUseCases
    thumbnails: Thumbnails
    operations: Operations
    moderation: Moderation
    models: ModelRegistry
    model_manager: ModelManager
    catalogue: ModelCatalogue
    recipes: RecipeUseCases
    names: PromptNames
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
    "ChatUseCases",
    "ExportUseCases",
    "JobEvent",
    "JobUseCases",
    "MediaUseCases",
    "ModelCatalogue",
    "ModelManager",
    "Moderation",
    "NamedAddon",
    "NamedStyle",
    "NamedWildcard",
    "Operations",
    "PeopleUseCases",
    "PictureUseCases",
    "PromptNames",
    "Quota",
    "Quote",
    "Recipe",
    "RecipeUseCases",
    "Request",
    "SessionUseCases",
    "SpaceRules",
    "Thumbnails",
    "Ticket",
    "UseCases",
]
