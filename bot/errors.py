"""The whole error tree.

Errors carry data, not prose: `bot.error_texts.explain` turns one into the sentence a person reads. `code` is the stable
name that programs rely on (REST's problem `code`, a failed job's `error.code`).
"""

from collections.abc import Sequence
from datetime import datetime


class EaselError(Exception):
    """Anything that Easel itself raises."""

    code = "internal"

    def __str__(self) -> str:
        return " ".join(f"{name}={value!r}" for name, value in vars(self).items()) or self.code


class UserError(EaselError):
    """Shown to the person as it is; never retried, never an incident."""


class InvalidOption(UserError):
    """An option is unknown, malformed or out of range.

    Args:
        option: the option's name as the person wrote it.
        problem: a key of `bot.error_texts.OPTION_PROBLEMS`: "unknown", "missing", "range", "choice", "type", "long", ...
        allowed: what would have been right, in words a person understands ("1 to 50").
        nearest: the known name that looks most like the unknown one.
    """

    code = "invalid_option"

    def __init__(
        self,
        option: str,
        problem: str,
        *,
        value: object = None,
        allowed: str = "",
        nearest: str = "",
    ) -> None:
        super().__init__()
        self.option = option
        self.problem = problem
        self.value = value
        self.allowed = allowed
        self.nearest = nearest


class UnknownCommand(UserError):
    code = "invalid_option"

    def __init__(self, name: str, known: Sequence[str], nearest: str = "") -> None:
        super().__init__()
        self.name = name
        self.known = tuple(known)
        self.nearest = nearest


class QuotaExceeded(UserError):
    """The day's device-seconds are spent. `limit`, `left` and `cost` are device-seconds."""

    code = "quota_exceeded"

    def __init__(self, *, limit: float, left: float, cost: float, resets_at: datetime, retry_after_s: int) -> None:
        super().__init__()
        self.limit = limit
        self.left = left
        self.cost = cost
        self.resets_at = resets_at
        self.retry_after_s = retry_after_s


class QueueFull(UserError):
    """The person (or the whole house) has as many unfinished jobs as allowed."""

    code = "queue_full"

    def __init__(self, *, limit: int, retry_after_s: int, whole_house: bool = False) -> None:
        super().__init__()
        self.limit = limit
        self.retry_after_s = retry_after_s
        self.whole_house = whole_house


class NotFound(UserError):
    """There is no such thing, or it belongs to somebody else: the caller cannot tell which."""

    code = "not_found"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind = kind
        self.name = name


class JobNotFound(NotFound):
    def __init__(self, job_id: str) -> None:
        super().__init__("job", job_id)


class MediaNotFound(NotFound):
    def __init__(self, media_id: str) -> None:
        super().__init__("picture", media_id)


class PictureGone(UserError):
    """The job's picture was deleted, or was forgotten for its age."""

    code = "not_found"


class NotYours(UserError):
    """Only the person whose job it is may do this; that it exists is no secret, its message can be seen."""

    code = "not_yours"

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id


class NotCancellable(UserError):
    code = "not_cancellable"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__()
        self.job_id = job_id
        self.state = state


class IdempotencyConflict(UserError):
    """The same idempotency key came with another request."""

    code = "idempotency_conflict"

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class TooLarge(UserError):
    """A file or picture is over a limit. `unit` is "MiB" or "megapixels"."""

    code = "too_large"

    def __init__(self, *, limit: float, unit: str) -> None:
        super().__init__()
        self.limit = limit
        self.unit = unit


class UnsupportedMedia(UserError):
    """`problem` is a key of `bot.error_texts.MEDIA_PROBLEMS`: "not_a_picture", "format", "damaged", "empty", "slow"."""

    code = "unsupported_media"

    def __init__(self, problem: str, *, found: str = "") -> None:
        super().__init__()
        self.problem = problem
        self.found = found


class DownloadFailed(UserError):
    """A model cannot be fetched. `problem` is a key of `bot.error_texts.DOWNLOAD_PROBLEMS`.

    Args:
        repo: `org/name`.
        url: the page a person has to open, where there is one.
        detail: what else the sentence names: a file, sizes, formats.
    """

    code = "download_failed"

    def __init__(self, repo: str, problem: str, *, url: str = "", detail: str = "") -> None:
        super().__init__()
        self.repo = repo
        self.problem = problem
        self.url = url
        self.detail = detail


class ModelRefused(UserError):
    """A model cannot be used. `problem`: a key of `bot.error_texts.MODEL_PROBLEMS`; `detail`: what its sentence names."""

    code = "model_refused"

    def __init__(self, model: str, problem: str, *, detail: str = "") -> None:
        super().__init__()
        self.model = model
        self.problem = problem
        self.detail = detail


class Unauthorized(UserError):
    code = "unauthorized"

    def __init__(self, problem: str = "key") -> None:
        super().__init__()
        self.problem = problem


class AdminsOnly(UserError):
    """What an admin of the house may do, and nobody else."""

    code = "forbidden"


class Blocked(UserError):
    """Not made or not shown. `reason` is a key of `bot.error_texts.BLOCKED`; `detail` is what its sentence names."""

    code = "blocked"

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.detail = detail


class StorageFull(UserError):
    """The disk has too little room to promise that a new job would be kept."""

    code = "storage_full"

    def __init__(self, *, free_mb: int = 0, need_mb: int = 0) -> None:
        super().__init__()
        self.free_mb = free_mb
        self.need_mb = need_mb


class StorageBusy(UserError):
    """Another process holds the database's write lock; nothing was saved."""

    code = "storage_busy"

    def __init__(self, retry_after_s: int = 5) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class ShuttingDown(UserError):
    code = "shutting_down"

    def __init__(self, retry_after_s: int = 15) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class EngineError(EaselError):
    """Making the result failed. Logged with an incident id; the person reads a calm sentence.

    `detail` is for the log only.
    """

    code = "engine_failed"
    retries = 0

    def __init__(self, detail: str = "") -> None:
        super().__init__()
        self.detail = detail


class ModelUnavailable(EngineError):
    """The model's files are missing or cannot be loaded; trying again will not help until the owner mends it."""

    code = "model_unavailable"

    def __init__(self, model: str, detail: str = "") -> None:
        super().__init__(detail)
        self.model = model


class ModelRemoved(ModelUnavailable):
    """The owner took the model out of the config after the job was accepted."""


class OutOfMemory(EngineError):
    """The device ran out of memory; retried once, smaller."""

    code = "out_of_memory"
    retries = 1


class EngineTimeout(EngineError):
    """The job used more device time than one job may (`pool.job_timeout_s`)."""

    code = "timeout"

    def __init__(self, limit_s: float, detail: str = "") -> None:
        super().__init__(detail)
        self.limit_s = limit_s


class WorkerLost(EngineError):
    """The child process died or fell silent. `alone`: this job was the only one it was running."""

    code = "worker_lost"
    retries = 2

    def __init__(self, *, alone: bool, detail: str = "") -> None:
        super().__init__(detail)
        self.alone = alone


class Interrupted(EaselError):
    """The pool is draining: the job goes back to the queue and no attempt is counted."""

    code = "interrupted"


class InterruptedTooOften(EaselError):
    """Restarts sent the job back more often than `queue.max_interruptions`."""

    code = "interrupted_too_often"


class PlatformError(EaselError):
    """A delivery did not happen; it is tried again or takes the next fallback.

    Args:
        retry_after_s: the platform asked to wait this long; None: our own back-off decides.
    """

    code = "platform"

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__()
        self.detail = detail
        self.retry_after_s = retry_after_s


class MessageGone(PlatformError):
    """The message to edit no longer exists: take the next fallback."""


class Undeliverable(PlatformError):
    """The platform will never take it (blocked, left, forbidden)."""


class JobCancelled(EaselError):
    code = "cancelled"


class ConfigError(EaselError):
    """Settings are wrong. `problems` are ready lines: file, key, what is wrong, what is allowed."""

    code = "config"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__()
        self.problems = tuple(problems)


class StartupError(EaselError):
    """The server cannot start; `sentence` says why and what to do."""

    code = "startup"

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence
