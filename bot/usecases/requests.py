"""What is asked for, and what is told of it: requests, tickets, quotes, events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.commands import Command, find_command
from bot.jobs import ImageRef, Job, Origin
from bot.models import Arrival
from bot.ports import Progress


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for, as any adapter brings it.

    Attributes:
        command: the command's name.
        options: named values as they came; or `line`: a typed line with `--flags`.
        wants_delivery: the answer goes back through a chat platform's message.
        is_confirmed: the person knows how many pictures `{a|b}` in the prompt makes, and wants them; a chat's quote.
        is_parent_own: the parent must be a job of the person's own; a chat shows those of others, too.
        use_defaults: the person's own defaults fill in what was not said, as far as the model takes them.
    """

    origin: Origin
    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    line: str | None = None
    images: tuple[ImageRef, ...] = ()
    parent: str | None = None
    wants_delivery: bool = False
    use_defaults: bool = False
    is_parent_own: bool = False
    is_confirmed: bool = False

    def read(self) -> Command:
        kind, is_chat = find_command(self.command), self.wants_delivery
        if self.line is None:
            return kind.from_options(self.options, self.images, is_album=is_chat)
        return kind.from_text(self.line, self.images, is_album=is_chat)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job with what is known of its waiting. None: unknown or over. `arrival`: of the model it waits for, `title`."""

    job: Job
    position: int | None = None
    eta_s: float | None = None
    progress: Progress | None = None
    arrival: Arrival | None = None
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Quote:
    jobs: int
    cost: float
    eta_s: float | None
    quote: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a follower is told. `kind`: state, progress, result or error."""

    kind: str
    ticket: Ticket
