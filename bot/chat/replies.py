"""What a chat command is given, and what it answers: plain data that every platform renders in its own way."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.chat.arguments import ChatOption, CommandStyle
from bot.chat.buttons import Button
from bot.jobs import Job, Media, Origin
from bot.ports import Person
from bot.usecases import UseCases


@dataclass(frozen=True, kw_only=True)
class ChatContext:
    """Who sent the command, and where.

    Attributes:
        style: how people there write commands.
        is_private: only the person reads what is answered.
        max_file_bytes: the largest file that the platform sends.
        replied_job: the job of the bot's message that the command replies to, and `replied_picture` the number of the
            picture that the message shows; 0: it shows the whole result.
    """

    usecases: UseCases = field(repr=False)
    person: Person
    origin: Origin
    style: CommandStyle
    is_private: bool
    max_file_bytes: int
    replied_job: Job | None = None
    replied_picture: int = 0

    @property
    def locale(self) -> str:
        return self.origin.locale


@dataclass(frozen=True, kw_only=True)
class ChatImage:
    """`number`: its place among the job's pictures, from 1."""

    media: Media
    alt: str
    is_spoiler: bool = False
    number: int = 1


@dataclass(frozen=True)
class ChatFile:
    """`name` has no ending: the platform adds the one of the media type."""

    name: str
    media: Media


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A question that two buttons answer. Yes is the command again, with its option `confirm`.

    Attributes:
        accept, decline: what the buttons carry. They only ever touch what belongs to the person who presses them.
    """

    command: str
    options: Mapping[str, Any]
    accept: str
    decline: str
    accept_label: str
    decline_label: str


@dataclass(frozen=True, kw_only=True)
class ChatReply:
    """The answer to a command.

    Attributes:
        job: what the reply shows, so that replies to it are about that job.
        picture: the number of the only picture of the job that it shows; 0: it shows the whole result.
        is_private: nobody else may read it.
        confirm: nothing was done yet; the text asks whether it should be.
    """

    text: str = ""
    images: tuple[ChatImage, ...] = ()
    files: tuple[ChatFile, ...] = ()
    buttons: tuple[Button, ...] = ()
    job: Job | None = None
    picture: int = 0
    is_private: bool = False
    confirm: Confirmation | None = None


ChatHandler = Callable[[ChatContext, Mapping[str, Any]], Awaitable[ChatReply]]


@dataclass(frozen=True, kw_only=True)
class ChatCommand:
    """A command that asks for no job.

    Attributes:
        help: what it does, for menus and /help.
        run: gets the checked options; raises UserError.
        is_listed: menus and /help show it.
    """

    name: str
    help: str
    run: ChatHandler
    options: tuple[ChatOption, ...] = ()
    is_listed: bool = True
