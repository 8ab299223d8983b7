"""Requests, and the answers to them: tickets, quotes, job events."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.commands import Ask, Command, find_command
from bot.jobs import ImageRef, Job, Origin
from bot.models import InstallProgress
from bot.ports import UNMARKED, PictureMarks, Progress, TokenCount


@dataclass(frozen=True, kw_only=True)
class Request:
    """A person's request, from any adapter.

    Attributes:
        command: the command's name.
        options: named values, not yet validated; or `line`: a typed line with `--flags`.
        wants_delivery: the answer is delivered as a message on a chat platform.
        allows_no_image: a question may be about no image, if its model answers texts alone; elsewhere, a question
            without an image is a mistake.
        is_confirmed: the person confirmed the number of images that `{a|b}` in the prompt makes.
        requires_own_parent: the parent must be the person's own job; in a chat, jobs of others are visible too.
        use_defaults: apply the person's default options, as far as the model supports them.
    """

    origin: Origin
    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    line: str | None = None
    images: tuple[ImageRef, ...] = ()
    parent: str | None = None
    wants_delivery: bool = False
    use_defaults: bool = False
    requires_own_parent: bool = False
    is_confirmed: bool = False
    allows_no_image: bool = False

    def to_command(self) -> Command:
        kind, is_chat = find_command(self.command), self.wants_delivery
        if self.allows_no_image and kind is Ask and not self.images:
            return Ask.without_images(self.options)
        if self.line is None:
            return kind.from_options(self.options, self.images, is_album=is_chat)
        return kind.from_text(self.line, self.images, is_album=is_chat)


def _identity(image: ImageRef) -> list[Any]:
    """What makes two images of a request the same; the first two parts alone, as hashed before there were more."""
    more = [image.kind, image.weight, image.start, image.end, image.ready]
    return [image.id, image.role, *(more if more != ["", 1.0, 0.0, 1.0, False] else [])]


def body_hash(request: Request) -> str:
    """SHA-256 hex digest of the request, independent of key order."""
    body = {
        "command": request.command,
        "options": dict(request.options),
        "line": request.line,
        "images": [_identity(image) for image in request.images],
        "parent": request.parent,
        **({"webhook": request.origin.webhook} if request.origin.webhook else {}),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job with its position and ETA; None: unknown, or it is not waiting. `install_progress` is that of the model
    called `title` that the job waits for. `marks`: what its owner keeps of the result."""

    job: Job
    position: int | None = None
    eta_s: float | None = None
    progress: Progress | None = None
    install_progress: InstallProgress | None = None
    title: str = ""
    marks: PictureMarks = UNMARKED


@dataclass(frozen=True, kw_only=True)
class Quote:
    jobs: int
    cost: float
    eta_s: float | None
    quote: str
    tokens: Mapping[str, TokenCount | None] = field(default_factory=dict)
    """Of each prompt, of the longest of them where images or jobs have different ones; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """A change of a followed job. `kind`: state, progress, result or error."""

    kind: str
    ticket: Ticket
