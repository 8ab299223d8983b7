"""Jobs, their results, and the table of allowed state transitions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 16


def new_job_id() -> str:
    """16 lower-case base32 characters: 80 random bits."""
    return "".join(ID_ALPHABET[byte & 31] for byte in os.urandom(ID_LENGTH))


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
"""All allowed transitions. Every update in `storage` has the previous state in its WHERE clause."""


SECRET_EXTRA = frozenset({"token"})
"""Keys of an origin's `extra` that are left out of data exports: they would allow acting as the bot."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a request came from. `extra` is JSON that only its own adapter reads; see `SECRET_EXTRA`.

    Attributes:
        age_restricted: whether the channel is for adults only; None: the platform has no such channels.
        is_admin: the requester may administer this server.
        webhook: the name of the webhook that is called when the job has ended; empty: none.
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
    webhook: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether others read along: a server or a group, also where an admin writes in its name."""
        private = (self.account_id, f"dm:{self.account_id}")
        return bool(self.chat_id) and (self.space_id.startswith("-") or self.space_id not in ("", *private))

    def is_same_chat(self, other: "Origin") -> bool:
        return (self.platform, self.space_id, self.chat_id) == (other.platform, other.space_id, other.chat_id)


@dataclass(frozen=True)
class Media:
    """The bytes of an image. Only `storage` knows about files."""

    data: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A stored image as its owner sees it.

    Attributes:
        id: SHA-256 of the stored bytes, lower-case hex.
        parameters: generation parameters read from the file, or None.
        is_spoiler: it is hidden until clicked.
        is_adult: it is sexual or could not be checked; it is only shown where the policy allows such images.
        is_unchecked: it could not be checked, because no classifier was installed.
        number: its place among the pictures of a result, from 1, which stays when others are deleted; 0: it is not one
            of them.
        seed: makes this picture alone; None: that of the result plus its place.
        score: where pictures were ranked, the probability that it shows what was asked for.
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
    is_unchecked: bool = False
    number: int = field(default=0, compare=False)
    seed: int | None = field(default=None, compare=False)
    score: float | None = field(default=None, compare=False)


BY_BOT = "bot"
"""The author of a generated image."""


@dataclass(frozen=True)
class ImageRef:
    """An input image of a request; role is init, mask, control or reference.

    Attributes:
        author: the account on the request's platform that posted it, or `BY_BOT`; empty: the requester.
        is_foreign: it was posted in another chat than that of the request.
        is_hidden: it is behind a spoiler, so what is made of it will be, too.
        kind: of a control, one of `CONTROL_KINDS`; of a reference, one of `REFERENCE_KINDS`, or empty for the model's
            own use of it.
        weight: how much a control or a reference counts; 1 is the full effect.
        start, end: the share of the steps, from 0 to 1, between which a control counts.
        ready: the image is already the map that its kind of control needs.
    """

    id: str
    role: str = "init"
    author: str = ""
    is_foreign: bool = field(default=False, compare=False)
    kind: str = ""
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    ready: bool = False
    is_hidden: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class TextUsage:
    """Of the texts of a task.

    Attributes:
        read: of the prompts, with their images.
        written: also of texts that the answer leaves out, and of a model's thoughts.
        is_cut: a text of the answer is as long as `max_new_tokens` allows, and may go on.
    """

    read: int = 0
    written: int = 0
    is_cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a job, with everything needed to reproduce it.

    Attributes:
        usage: of a text; None: its model has no tokens to count, or the job is older than this record.
        media: its images that are not deleted, each with its number.
        places: how many there were.
    """

    media: tuple[StoredImage, ...] = ()
    text: str | None = None
    seed: int | None = None
    model: str = ""
    revision: str = ""
    seconds: float = 0.0
    """Device-seconds used."""
    device: str = ""
    """That did it; empty: none was needed, or the job is older than this record."""
    parameters: str = ""
    """The A1111 text of the first image; empty for text results."""
    notes: tuple[str, ...] = ()
    usage: TextUsage | None = field(default=None, compare=False)
    places: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        numbered = tuple(replace(one, number=one.number or place) for place, one in enumerate(self.media, 1))
        object.__setattr__(self, "media", numbered)
        object.__setattr__(self, "places", max([self.places, *(one.number for one in numbered)]))

    @property
    def pictures(self) -> tuple[StoredImage | None, ...]:
        """By their numbers, which begin with 1; None: that one is deleted."""
        return tuple(self.find_picture(number) for number in range(1, self.places + 1))

    def find_picture(self, number: int) -> StoredImage | None:
        return next((image for image in self.media if image.number == number), None)

    def seed_of(self, number: int) -> int | None:
        """The seed that makes this picture alone."""
        picture = self.find_picture(number)
        if picture is not None and picture.seed is not None:
            return picture.seed
        return None if self.seed is None else self.seed + max(number, 1) - 1


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
        options: all options with their values, as in a REST body.
        attempt: number of claims; also the fencing token of the current claim.
        crashes: number of times that a worker died while it ran only this job.
        interruptions: number of times that a drain or the server's death requeued it.
        version: incremented with each stored change; the event id of server-sent events.
        cost: device-seconds, fixed when it is accepted.
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
        """Its images are hidden until clicked: the request was marked as a spoiler, or the space's policy requires
        it."""
        images = self.result.media if self.result else ()
        return bool(self.origin.extra.get("spoiler")) or any(image.is_spoiler for image in images)

    @property
    def is_adult(self) -> bool:
        return any(image.is_adult for image in self.result.media) if self.result else False

    @property
    def has_several_pictures(self) -> bool:
        """It has, or had before some were deleted."""
        return self.result is not None and self.result.places > 1

    def may_be_delivered_to(self, chat_id: str) -> bool:
        """Whether its images may be: adult ones only where they were asked for, as a private chat may be a child's."""
        return chat_id == self.origin.chat_id or not self.is_adult
