"""What hooks are given and may return: plain values, never rows of the database or secrets."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

OptionValue = str | int | float | bool
RunInProcess = Callable[..., Awaitable[Any]]


class Refusal(Exception):
    """Raised by `easel_accept` or by a command: the request is refused with this sentence, and costs nothing."""


@dataclass(frozen=True, kw_only=True)
class PluginContext:
    """The plugin itself, which every hook can have as its argument `plugin`.

    Attributes:
        settings: those of `[plugins.NAME]`, with the defaults of `SETTINGS` for what is not set there.
        folder: its own, in the data directory, where it keeps what it has to remember. It exists.
        run_in_process: of a plugin of the server, `await plugin.run_in_process(function, *args)`: calls a function of
            the plugin's module in a child process, which is started with the first call and ends with the plugin. For
            libraries that are heavy, such as torch, which the server never imports. Arguments and results are pickled.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: Path
    run_in_process: RunInProcess | None = None


@dataclass(frozen=True, kw_only=True)
class Requester:
    """Attributes:
    person: an opaque id, the same for all accounts of a person.
    platform: "discord", "telegram", "web" or "cli".
    locale: of the person's app, such as "de" or "pt-BR"; "en" where it is unknown.
    is_admin: they may administer Easel, or this chat.
    """

    person: str
    platform: str
    locale: str = "en"
    is_admin: bool = False


@dataclass(frozen=True, kw_only=True)
class PendingRequest:
    """A request before it is accepted.

    Attributes:
        command: such as "imagine".
        options: those that were given, by their REST names; what is missing gets the person's or the model's default.
        images: how many came with it.
    """

    command: str
    options: Mapping[str, Any]
    images: int
    by: Requester


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """One of a job's different prompts, with its syntax: `(word:1.3)`, `<lora:name:0.8>`, `[old:new:0.5]`.

    Attributes:
        words: the same without syntax.
        is_negative: it is the negative prompt.
        model: the name of the model that draws.
    """

    job: str
    text: str
    words: str
    is_negative: bool
    command: str
    model: str
    by: Requester


@dataclass(frozen=True, kw_only=True)
class AnswerText:
    """Attributes:
    text: the answer; of `describe`, a line for each choice.
    question: what was asked; empty: the command asks no question.
    images: how many it is about.
    """

    job: str
    text: str
    command: str
    question: str
    images: int
    model: str
    by: Requester


@dataclass(frozen=True, kw_only=True)
class DeliveredImage:
    """`data`: the file, as it is stored. `alt`: its alt text."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    alt: str
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveredJob:
    """Attributes:
    options: all of them, as `GET /jobs/{id}` shows them.
    text: the answer; None: it answers with images.
    seconds: of the device.
    """

    id: str
    command: str
    options: Mapping[str, Any]
    model: str
    text: str | None
    images: Sequence[DeliveredImage]
    seconds: float
    by: Requester


@dataclass(frozen=True, kw_only=True)
class PluginOption:
    """An option of a plugin's command.

    Attributes:
        kind: of its value.
        is_main: it takes the words that are typed without a flag.
        minimum, maximum: inclusive bounds of a number; `maximum` of a text is its length in characters.
    """

    name: str
    help: str
    kind: Literal["text", "whole number", "number", "yes or no"] = "text"
    default: OptionValue | None = None
    is_required: bool = False
    is_main: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class CommandCall:
    """`options`: checked, with defaults. `images`: how many came with it; they go on to the command that it becomes."""

    command: str
    options: Mapping[str, Any]
    images: int
    by: Requester


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """An existing command with its options by their REST names, as a plugin's command becomes one."""

    command: str
    options: Mapping[str, Any]


CommandFunction = Callable[[CommandCall], RunCommand | str | Awaitable[RunCommand | str]]


@dataclass(frozen=True, kw_only=True)
class PluginCommand:
    """A command of a plugin: `/poster` in chats, `{"command": "poster"}` for REST.

    Attributes:
        name: a to z, 0 to 9 and _, at most 32 characters.
        summary: what it does, for menus and /help.
        run: `def` or `async def`; returns a `RunCommand` or, of a command that answers with a text, that text.
            May raise `Refusal`.
        answers: whether it becomes a job or a text.
        images: how many it takes at most.
    """

    name: str
    summary: str
    run: CommandFunction
    options: tuple[PluginOption, ...] = ()
    answers: Literal["job", "text"] = "job"
    images: int = 0


@dataclass(frozen=True, kw_only=True)
class ChatMessage:
    """A message to the bot that is no command and no reply to one of its pictures."""

    text: str
    is_private: bool
    by: Requester


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel on the page, as plain text: a title, a text, and rows of a label and a value.

    `for_admins`: only they see it, in Admin; else everybody does, on the queue's page.
    """

    title: str
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()
    for_admins: bool = False
