"""Jobs: what they are, and the one table of the states they may move between."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 16


def new_job_id() -> str:
    """16 lower-case base32 characters: 80 random bits."""
    return "".join(ID_ALPHABET[byte & 31] for byte in secrets.token_bytes(ID_LENGTH))


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RENDERED = "rendered"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Nothing more will be computed for it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.RENDERED, JobState.CANCELLED, JobState.FAILED, JobState.DEAD}
    ),
    JobState.RENDERED: frozenset({JobState.DELIVERED}),
    JobState.DELIVERED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.DEAD: frozenset(),
}
"""The only moves there are. Every update in `storage` names the old state in its WHERE."""


SECRET_EXTRA = frozenset({"token"})
"""Keys of an origin's `extra` that no copy of a person's data tells: with them one could speak for the bot."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a request came from. `extra` is JSON that only its own adapter reads; see `SECRET_EXTRA`.

    Attributes:
        age_restricted: whether the channel is for adults only; None: the platform knows no such channels.
        is_admin: who asks may administer this house.
    """

    platform: str
    space_id: str
    """The guild, chat or "web": the first level of fairness."""
    account_id: str
    chat_id: str = ""
    thread_id: str = ""
    message_id: str = ""
    reply_to_id: str = ""
    locale: str = "en"
    age_restricted: bool | None = None
    is_admin: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Media:
    """Bytes of a picture. Only `storage` knows files."""

    data: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A stored picture as its owner sees it.

    Attributes:
        id: SHA-256 of the stored bytes, lower-case hex.
        parameters: what the file said about how it was made, or None.
        is_spoiler: it is shown after a click only.
        is_adult: it is sexual, or nobody could tell; may it be shown, then only where such pictures may be.
    """

    id: str
    media_type: str
    width: int
    height: int
    size: int = 0
    alt: str = ""
    parameters: Mapping[str, Any] | None = None
    is_spoiler: bool = False
    is_adult: bool = False


BY_BOT = "bot"
"""The author of a picture that was made here."""


@dataclass(frozen=True)
class ImageRef:
    """A picture named in a request; role is init, mask, control or reference.

    `author`: the account that posted it, on the request's platform, or `BY_BOT`; empty: whoever asks.
    """

    id: str
    role: str = "init"
    author: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out, with enough to make it again."""

    media: tuple[Picture, ...] = ()
    text: str | None = None
    seed: int | None = None
    model: str = ""
    revision: str = ""
    seconds: float = 0.0
    """Device-seconds used."""
    parameters: str = ""
    """The A1111 text of the first picture; empty for text results."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job ended without a result. `incident` finds it in the log."""

    code: str
    message: str
    incident: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request, as stored. Times are UTC.

    Attributes:
        command: the command's name in `COMMANDS`.
        options: every option filled in; what a REST body would say.
        attempt: how often it was claimed; also the fencing token of the present claim.
        crashes: how often a child died while it ran this job alone.
        interruptions: how often a drain or the server's death sent it back.
        version: grows with each stored change; the event id of server-sent events.
        cost: device-seconds, fixed at accept.
    """

    id: str
    owner: str
    origin: Origin
    command: str
    options: Mapping[str, Any]
    images: tuple[ImageRef, ...] = ()
    task: str = ""
    model: str = ""
    state: JobState = JobState.QUEUED
    attempt: int = 0
    crashes: int = 0
    failures: int = 0
    interruptions: int = 0
    cost: float = 0.0
    parent: str | None = None
    batch: str | None = None
    version: int = 1
    cancel_requested: bool = False
    result: Result | None = None
    error: JobError | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_spoiler(self) -> bool:
        """What it shows is hidden until clicked: it was asked with a spoiler, or its space wants it so."""
        made = self.result.media if self.result else ()
        return bool(self.origin.extra.get("spoiler")) or any(picture.is_spoiler for picture in made)

    @property
    def is_adult(self) -> bool:
        return any(picture.is_adult for picture in self.result.media) if self.result else False
