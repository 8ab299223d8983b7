"""All that adapters may call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bot.models import Models
from bot.ports import Inbox
from bot.usecases.chat import ChatUseCases
from bot.usecases.jobs import JobUseCases
from bot.usecases.media import MediaUseCases
from bot.usecases.model_catalogue import CatalogueUseCases
from bot.usecases.models import ModelUseCases
from bot.usecases.moderation import Moderation, SpaceRules
from bot.usecases.operations import Operations
from bot.usecases.people import PeopleUseCases, Quota
from bot.usecases.requests import Event, Quote, Request, Ticket


@dataclass(frozen=True, kw_only=True)
class UseCases:
    """The house as its adapters see it."""

    jobs: JobUseCases
    chat: ChatUseCases
    media: MediaUseCases
    people: PeopleUseCases
    operations: Operations
    moderation: Moderation
    models: Models
    choosing: ModelUseCases
    catalogue: CatalogueUseCases
    styles: tuple[str, ...] = ()
    """Names of the looks that `imagine` takes."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an adapter is given.

    Attributes:
        secret: the local secret of the lock file; a caller that shows it is the local person.
        announce: tells the owner's terminal one line ("The page: http://127.0.0.1:8000/").
        publish: writes the address into the lock file, so that one-shot commands find it.
        inbox: keeps what a platform told us until it is handled.
        secret_of: a secret by its variable ("DISCORD_TOKEN"); empty when it is not set.
    """

    usecases: UseCases
    data_dir: Path
    secret: str
    announce: Callable[[str], None]
    publish: Callable[[str], None]
    inbox: Inbox
    secret_of: Callable[[str], str]


__all__ = [
    "CatalogueUseCases",
    "ChatUseCases",
    "Event",
    "JobUseCases",
    "MediaUseCases",
    "ModelUseCases",
    "Moderation",
    "Operations",
    "PeopleUseCases",
    "Quota",
    "Quote",
    "Request",
    "SpaceRules",
    "Surroundings",
    "Ticket",
    "UseCases",
]
