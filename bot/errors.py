"""The error hierarchy.

Errors carry data, not prose: `bot.error_texts.explain` turns one into a sentence for people. `code` is the stable name
for programs (REST's problem `code`, a failed job's `error.code`).
"""

from collections.abc import Sequence
from datetime import datetime


class EaselError(Exception):
    """Base class of all errors that Easel raises."""

    code = "internal"

    def __str__(self) -> str:
        return " ".join(f"{name}={value!r}" for name, value in vars(self).items()) or self.code


class UserError(EaselError):
    """Shown to the person; never retried, never an incident."""


class InvalidOption(UserError):
    """An option is unknown, malformed or out of range.

    Args:
        option: the option's name as the person wrote it.
        problem: a key of `bot.error_texts.OPTION_PROBLEMS`: "unknown", "missing", "range", "choice", "type", "long",
            ...
        allowed: the allowed values, as text ("1 to 50").
        nearest: the known name that is most similar to the unknown one.
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
        is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        self.value = int(value) if is_whole else value  # type: ignore[call-overload]  # said as people write it
        self.allowed = allowed
        self.nearest = nearest


class NoModel(InvalidOption):
    """No installed model can run the command. `sentence` says so; it is in the template of sentences."""

    def __init__(self, command: str, sentence: str) -> None:
        super().__init__("model", "no_model", value=command)
        self.sentence = sentence


class UnknownCommand(UserError):
    code = "invalid_option"

    def __init__(self, name: str, known: Sequence[str], nearest: str = "") -> None:
        super().__init__()
        self.name = name
        self.known = tuple(known)
        self.nearest = nearest


class QuotaExceeded(UserError):
    """The daily quota does not cover the request. `limit`, `left` and `cost` are device-seconds."""

    code = "quota_exceeded"

    def __init__(self, *, limit: float, left: float, cost: float, resets_at: datetime, retry_after_s: int) -> None:
        super().__init__()
        self.limit = limit
        self.left = left
        self.cost = cost
        self.resets_at = resets_at
        self.retry_after_s = retry_after_s


class UploadQuotaExceeded(UserError):
    """The person's uploads of a day need too much space. `limit_mb` and `used_mb` are MiB of stored images."""

    code = "quota_exceeded"

    def __init__(self, *, limit_mb: float, used_mb: float, retry_after_s: int) -> None:
        super().__init__()
        self.limit_mb = limit_mb
        self.used_mb = used_mb
        self.retry_after_s = retry_after_s


class QueueFull(UserError):
    """The person has too many unfinished jobs; `is_global`: all persons together have."""

    code = "queue_full"

    def __init__(self, *, limit: int, retry_after_s: int, is_global: bool = False) -> None:
        super().__init__()
        self.limit = limit
        self.retry_after_s = retry_after_s
        self.is_global = is_global


class NotFound(UserError):
    """It does not exist or belongs to somebody else; the caller cannot tell which."""

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


class ImageGone(UserError):
    """The job's image was deleted, possibly by retention."""

    code = "not_found"


class NotYours(UserError):
    """Only the job's owner may do this. The job's existence is no secret: its message is visible."""

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
    """A file or image exceeds a limit. `unit` is "MiB" or "megapixels"; `heic_limit` is that of HEIC, if higher."""

    code = "too_large"

    def __init__(self, *, limit: float, unit: str, heic_limit: float = 0) -> None:
        super().__init__()
        self.limit = limit
        self.unit = unit
        self.heic_limit = heic_limit


class UnsupportedMedia(UserError):
    """`problem` is a key of `bot.error_texts.MEDIA_PROBLEMS`: "not_a_picture", "format", "heic", "damaged", "empty",
    "slow", "unavailable"."""

    code = "unsupported_media"

    def __init__(self, problem: str, *, found: str = "") -> None:
        super().__init__()
        self.problem = problem
        self.found = found


class DownloadFailed(UserError):
    """A model cannot be downloaded. `problem` is a key of `bot.error_texts.DOWNLOAD_PROBLEMS`.

    Args:
        repo: `org/name`.
        url: the page that a person has to open, if any.
        detail: further text for the sentence: a file, sizes, formats.
    """

    code = "download_failed"

    def __init__(self, repo: str, problem: str, *, url: str = "", detail: str = "") -> None:
        super().__init__()
        self.repo = repo
        self.problem = problem
        self.url = url
        self.detail = detail


class ModelRefused(UserError):
    """A model cannot be used. `problem` is a key of `bot.error_texts.MODEL_PROBLEMS`; `detail` goes into its
    sentence."""

    code = "model_refused"

    def __init__(self, model: str, problem: str, *, detail: str = "") -> None:
        super().__init__()
        self.model = model
        self.problem = problem
        self.detail = detail


class TrainingRefused(UserError):
    """An adapter cannot be trained. `problem` is a key of `bot.problem_texts.training_problems.TRAINING_PROBLEMS`;
    `data` goes into its sentence."""

    code = "training_refused"

    def __init__(self, problem: str, **data: str | int) -> None:
        super().__init__()
        self.problem = problem
        self.fields = tuple(data.items())

    @property
    def data(self) -> dict[str, str | int]:
        return dict(self.fields)


class Unauthorized(UserError):
    code = "unauthorized"

    def __init__(self, problem: str = "key") -> None:
        super().__init__()
        self.problem = problem


class AdminsOnly(UserError):
    """Only an admin may do this."""

    code = "forbidden"


class Blocked(UserError):
    """Not made or not shown. `reason` is a key of `bot.error_texts.BLOCKED`; `detail` goes into its sentence."""

    code = "blocked"

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.detail = detail


class NoAnswer(UserError):
    """A model wrote nothing that can be shown: no words, or only thoughts."""

    code = "no_answer"


class StorageFull(UserError):
    """The disk has too little free space to accept a new job."""

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
    """Computing the result failed. Logged with an incident id; the person gets a general sentence.

    `detail` is for the log only.
    """

    code = "engine_failed"
    retries = 0

    def __init__(self, detail: str = "") -> None:
        super().__init__()
        self.detail = detail


class ModelUnavailable(EngineError):
    """The model's files are missing or cannot be loaded; retrying does not help until the owner fixes it."""

    code = "model_unavailable"

    def __init__(self, model: str, detail: str = "") -> None:
        super().__init__(detail)
        self.model = model


class ModelRemoved(ModelUnavailable):
    """The owner removed the model after the job was accepted."""


class OutOfMemory(EngineError):
    """The device ran out of memory; retried once, with less memory."""

    code = "out_of_memory"
    retries = 1


class EngineTimeout(EngineError):
    """The job used more device time than `pool.job_timeout_s` allows."""

    code = "timeout"

    def __init__(self, limit_s: float, detail: str = "") -> None:
        super().__init__(detail)
        self.limit_s = limit_s


class WorkerLost(EngineError):
    """The worker process died or stopped responding, `was_alone` with this job, or while a `plugin`'s hook ran.

    `plugin_reason`: why the plugin was switched off, of `bot.problem_texts.plugin_problems`.
    """

    code = "worker_lost"
    retries = 2

    def __init__(self, *, was_alone: bool, detail: str = "", plugin: str = "", plugin_reason: str = "") -> None:
        super().__init__(detail)
        self.was_alone = was_alone
        self.plugin = plugin
        self.plugin_reason = plugin_reason


class Interrupted(EaselError):
    """The pool is draining: the job is requeued without counting an attempt."""

    code = "interrupted"


class InterruptedTooOften(EaselError):
    """Restarts interrupted the job more often than `queue.max_interruptions`."""

    code = "interrupted_too_often"


class JobCancelled(EaselError):
    code = "cancelled"


class ConfigError(EaselError):
    """Settings are invalid. `problems` are complete lines: file, key, problem, allowed values."""

    code = "config"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__()
        self.problems = tuple(problems)


class StartupError(EaselError):
    """The server cannot start; `sentence` gives the reason and the remedy."""

    code = "startup"

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence
