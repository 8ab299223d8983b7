"""The inference pool: tasks in, progress and results out."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.jobs import Job, Media
from bot.models import ModelSpec
from bot.ports.queue import Offer
from bot.ports.safety import Rules


@dataclass(frozen=True)
class TaskImage:
    role: str
    media: Media


@dataclass(frozen=True)
class TaskAddition:
    """A kept LoRA ("lora") or textual inversion ("inversion") that a prompt of the task names; `path` is its file."""

    name: str
    kind: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job as a device sees it; no person, no platform, no token.

    Attributes:
        answers: what the command answers with (`bot.commands.Answer`).
        options: every option filled in, by its REST name (`steps`, `guidance_scale`, `seed`, ...).
        additions: what its prompts may use of what is kept beside the models, and no more.
        share: an opaque key of whom it is for, so that a device can be fair between people it does not know.
        watched: somebody looks at its progress, so previews are worth making.
        alone: run it on a device that runs nothing else, so that a crash tells whose it was.
        urgent: nothing new is offered until it has a device; for the trial of a model.
        rules: what pictures may come in and go out; None: they are not looked at.
    """

    id: str
    command: str
    task: str
    model: ModelSpec
    options: Mapping[str, Any]
    answers: str = "text"
    images: tuple[TaskImage, ...] = ()
    additions: tuple[TaskAddition, ...] = ()
    share: str = ""
    watched: bool = False
    alone: bool = False
    urgent: bool = False
    rules: Rules | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`step` of `steps`; for text, tokens. `preview` is a small JPEG or None.

    `used_s`: device-seconds used so far, as the pool knows; of passes that others shared only its part.
    """

    step: int
    steps: int
    preview: bytes | None = None
    note: str = ""
    """"loading" while the model loads."""
    used_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`seconds` of one `what`: "step" (diffusion step) or "step_unguided" (one without guidance, about half as dear),
    "token", "job" (a job beside its steps), "load", "pass".

    A step or token is that of `rows` such jobs together, with all that it takes; a pass that of a batch of so many
    rows, for the next child to know. `shape` is "WIDTHxHEIGHT" or "" for text.
    """

    device: str
    model: str
    dtype: str
    shape: str
    rows: int
    what: str
    seconds: float


def step_of(options: Mapping[str, Any]) -> str:
    """What a diffusion step of a job with these options is called in `Measured.what`."""
    guidance = options.get("guidance_scale")
    return "step_unguided" if guidance is not None and float(guidance) <= 1 else "step"


@dataclass(frozen=True, kw_only=True)
class Described:
    """A loaded model's form: `{"samplers": [...], "options": [...], "revision": "...", "dtype": "..."}`.

    Also "rows", how many tasks it takes at once; 1 when it is missing.
    """

    model: str
    form: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One finished picture, encoded, with its metadata inside. `parameters` is the A1111 text.

    Attributes:
        nsfw: how likely it is sexual, 0 to 1; None: nobody looked.
        is_spoiler, is_adult: see `Picture`; set once it was judged by the task's rules.
    """

    media: Media
    width: int
    height: int
    parameters: str
    nsfw: float | None = None
    is_spoiler: bool = False
    is_adult: bool = False


@dataclass(frozen=True, kw_only=True)
class Done:
    """The end of a task. `seconds` is device time used; of passes that others shared only its part."""

    pictures: tuple[Rendered, ...] = ()
    text: str | None = None
    revision: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """What `/readyz`, `/metrics` and `doctor` say of a device. `state`: starting, ready, restarting, stopped.

    `places`: how many tasks it has at once, at most; each model has a limit of its own.
    """

    device: str
    state: str
    warm: tuple[str, ...] = ()
    running: int = 0
    restarts: int = 0
    memory_mb: int = 0
    places: int = 1


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What releasing memory gave back. `models`: those unloaded; `busy`: those that stay, because jobs run on them."""

    models: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    freed_mb: int = 0


class Judge(Protocol):
    """Says what pictures may come in and go out (`bot.usecases.Moderation`)."""

    async def rules_of(self, job: Job, model: ModelSpec) -> Rules | None:
        """For the job's task; None: its pictures need no looking at. Raises: StorageBusy."""

    def heard(self, described: Described) -> None:
        """A model was loaded, and what looks at its pictures with it, or not."""

    def judged(self, done: Done, rules: Rules | None) -> Done:
        """The result with each picture marked for what it is. Raises: Blocked."""


class Pool(Protocol):
    def offers(self, promised: Mapping[str, Sequence[str]] | None = None) -> list[Offer]:
        """One for each device that can take a task now.

        `promised`: models of tasks that were claimed for a device and have not reached it, by the device's name.
        """

    def run(self, task: Task) -> AsyncGenerator[Progress | Measured | Described | Done, None]:
        """Run a task on a device that offered its model; ends after `Done`. Closing the iterator cancels the task.

        Raises: JobCancelled (after `cancel`), Interrupted (draining), ModelUnavailable, OutOfMemory, EngineTimeout,
        WorkerLost, InvalidOption (the model itself refused a value), Blocked (a picture could not be looked at, or
        may not be worked on), EngineError.
        """

    def know(self, models: Sequence[ModelSpec]) -> None:
        """Offer these models from now on; what runs goes on. A task may bring a model that is not offered."""

    def cancel(self, task_id: str) -> None:
        """Stop at the next step; a task that does not run is ignored."""

    def watch(self, task_id: str, watched: bool) -> None:
        """Make previews for it, or no longer."""

    async def wait_for_change(self) -> None:
        """Returns when offers may have changed since the last call."""

    def statuses(self) -> list[DeviceStatus]: ...

    async def release(self) -> Freed:
        """Unload every model that nothing runs on, and give its memory back to the device. The next job loads anew."""

    async def drain(self, deadline_s: float) -> None:
        """Offer nothing more; let running tasks finish until the deadline, then interrupt them."""
