"""The inference pool: runs tasks and yields their progress and output."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bot.jobs import Job, Media, TextUsage
from bot.models import IMAGE_CLASSIFICATION, TORCH, ModelSpec
from bot.ports.device_totals import DeviceTotals
from bot.ports.learning import Embedding
from bot.ports.queue import Offer
from bot.ports.safety import SafetyRules


@dataclass(frozen=True)
class TaskImage:
    """An input image; see `bot.jobs.ImageRef`. `is_ready`: it is a map; all controls are when an engine gets them."""

    role: str
    media: Media
    kind: str = ""
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    is_ready: bool = False


@dataclass(frozen=True)
class TaskAddon:
    """An installed LoRA ("lora") or textual inversion ("inversion") named in a prompt of the task.

    `path`: its file; `words`: of a LoRA, those that the model knows with it.
    """

    name: str
    kind: str
    path: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskAdapter:
    """An adapter that was trained here, by its name and the SHA-256 of its weights.

    `revision`: of the model that it was trained on; empty: not compared.
    """

    name: str
    sha256: str
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job as a device sees it, without person, platform or token.

    Attributes:
        answers: what the command answers with (`bot.commands.Answer`).
        options: every option filled in, by its REST name (`steps`, `guidance_scale`, `seed`, ...). Of `ask` also
            `thread`: the earlier questions and answers about the same images, oldest first, as
            `{"question": ..., "answer": ...}`; a model that answers each question alone ignores it.
        images: of `ask`, every image that the question is about, in order; a model that sees one at a time answers
            with a numbered line for each.
        addons: the LoRAs and textual inversions that its prompts may use.
        adapter: of a vision model, the one that answers; None: the model as it was installed.
        fairness_key: an opaque key of the person, which lets a device share its time fairly between people.
        wants_previews: somebody is watching its progress.
        is_exclusive: run it on an otherwise idle device, where a crash can only be its own fault.
        is_urgent: offer nothing else until it has a device; used for a model's smoke tests.
        is_trial: a model's smoke test: what computes its passes quickest on the device is found as well.
        is_part: its job has run other tasks before, so it may wait longer for a free slot.
        is_result: its output is the job's own, not a part's.
        past_s: device-seconds that these tasks have used, which count towards the job's time limit.
        beside: the running task that waits for it; it may join that on a device that runs nothing else.
        rules: for its input and output images; None: they are not checked.
        notes: what the person should know about its preparation.
    """

    id: str
    command: str
    task: str
    model: ModelSpec
    options: Mapping[str, Any]
    answers: str = "text"
    images: tuple[TaskImage, ...] = ()
    addons: tuple[TaskAddon, ...] = ()
    adapter: TaskAdapter | None = None
    fairness_key: str = ""
    wants_previews: bool = False
    is_exclusive: bool = False
    is_urgent: bool = False
    is_trial: bool = False
    is_part: bool = False
    is_result: bool = False
    past_s: float = 0.0
    beside: str = ""
    rules: SafetyRules | None = None
    notes: tuple[str, ...] = ()

    @property
    def image_count(self) -> int:
        """How many images it makes; 1 for a task that answers."""
        return int(self.options.get("count") or 1)

    @property
    def is_safety_check(self) -> bool:
        """Only its images are scored: it needs no free slot and loads no model but the classifier."""
        return self.task == IMAGE_CLASSIFICATION


Phase = Literal["waiting", "loading", "running", "finishing"]
"""What an unfinished job is doing: it waits for its turn or its model, its model loads, it makes steps, or it has made
its last step."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`step` of `steps`; for text, tokens. `preview` is a small JPEG or None.

    Attributes:
        phase: "finishing" from the last step on, even if given as "running".
        text: of a task that answers in text, the answer so far, whole and as it would be shown; "": none yet.
        load_s: expected seconds until the model is loaded; None: unknown, or the model is not loading.
        used_s: device-seconds used so far; of shared forward passes, only the task's share.
    """

    step: int
    steps: int
    preview: bytes | None = None
    text: str = ""
    phase: Phase = "running"
    load_s: float | None = field(default=None, compare=False)
    used_s: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if self.phase == "running" and 0 < self.steps <= self.step:
            object.__setattr__(self, "phase", "finishing")


FORMAT = "format"
"""What is measured, as `Measurement.what`: a step in a trial. Its `backend` is the number format, its `shape` stands
for the weights and the processor."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """`seconds` of one `what`: "step" (a denoising step), "step_unguided" (one without guidance, about half as
    expensive), "token", "job" (a job's overhead beside its steps), "load", "import", "pass"; "attention" and "compile"
    (a pass in a trial, see `inference.diffusion.execution.denoiser_execution`); `FORMAT`.

    The libraries of the engines (torch) are imported before a process loads its first model: "import" is measured for
    the device, with `model` and `shape` "".

    A step or token is measured with `batch_size` such jobs running together; a forward pass with a batch of
    `batch_size` rows, which calibrates the next worker. `shape` is "WIDTHxHEIGHT", or "" for text. `backend` is what
    the model runs on: "torch", "openvino" or "onnx"; of a trial: what was tried.
    """

    device: str
    model: str
    dtype: str
    shape: str
    batch_size: int
    what: str
    seconds: float
    backend: str = TORCH


def step_of(options: Mapping[str, Any]) -> str:
    """The `Measurement.what` of a denoising step with these options."""
    guidance = options.get("guidance_scale")
    return "step_unguided" if guidance is not None and float(guidance) <= 1 else "step"


@dataclass(frozen=True, kw_only=True)
class ModelCapabilities:
    """What a loaded model supports: `{"samplers": [...], "options": [...], "revision": "...", "dtype": "..."}`.

    Also "rows": the number of tasks that it can run concurrently; 1 if missing.
    """

    model: str
    capabilities: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RenderedImage:
    """One finished image, encoded, with its metadata embedded. `parameters` is the A1111 text.

    Attributes:
        nsfw: the probability that it is sexual, 0 to 1; None: it was not checked.
        is_spoiler, is_adult, is_unchecked: see `StoredImage`; set when the task's rules are applied.
        index: which of the task's images it is, from 0: it has the seed and the prompt with this number.
        seed: makes this image alone; None: it has none.
        score: see `StoredImage`.
    """

    media: Media
    width: int
    height: int
    parameters: str
    nsfw: float | None = None
    is_spoiler: bool = False
    is_adult: bool = False
    is_unchecked: bool = False
    index: int = 0
    seed: int | None = None
    score: float | None = None


ENHANCE = "enhance"
"""A value of `Task.command` that no person can type: a richer prompt in place of `options["prompt"]`, as a text, by a
model that chats: `options["question"]` asks it, without an image."""
EMBED, RANK = "embed", "rank"
"""Values of `Task.command` that no person can type. `EMBED`: of each of its images, and of `options["text"]` if there
are none, the vectors; `RANK`: how well each image shows `options["text"]`."""


@dataclass(frozen=True)
class MatchScore:
    """How well an image shows a text.

    Attributes:
        logit: of the probability that they match; comparable between images.
        similarity: contrastive, from -1 to 1; 0 for models that have none.
    """

    logit: float
    similarity: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """What image `index` of a task will probably become."""

    index: int
    media: Media


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Images of a task that wait after `step` steps until `Pool.keep_rows` says which of them, `kept`, go on."""

    step: int
    kept: int
    images: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class TaskOutput:
    """The output of a task.

    Attributes:
        matches: of `RANK`, one for each of its images.
        embeddings: of `EMBED`, one for each of its images, or that of the text; none if the model knows no word of it.
        prompts: of each image by its index, what it was drawn from, where the job's options do not say that.
        scores: of a safety check (`is_safety_check`), one for each of its images, as `RenderedImage.nsfw`.
        usage: of its texts, if its model counts them.
        seconds: device time used; of shared forward passes, only the task's share.
    """

    images: tuple[RenderedImage, ...] = ()
    text: str | None = None
    usage: TextUsage | None = None
    prompts: tuple[str, ...] = ()
    scores: tuple[float | None, ...] = ()
    matches: tuple[MatchScore, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    revision: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaskWork:
    """What a device makes of a running task. `owner`: its fairness key; `step`, `steps`: of all its images together."""

    task: str
    owner: str
    images: int
    step: int
    steps: int

    @property
    def steps_left(self) -> int:
        return max(0, self.steps - self.step)

    @property
    def images_left(self) -> int:
        """Images in flight: all advance at the same time, as far as is known."""
        return self.images if self.steps_left else 0


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """A device for `/readyz`, `/metrics` and `doctor`. `state`: starting, ready, restarting, stopped.

    `running`: tasks, and `work` what they make. `slots`: the maximum number of concurrent tasks; each model also has
    its own limit. `loading`: the model that it is loading, and `load_s` the expected seconds until that is loaded;
    None: unknown. `has_imported`: its process has imported the engines' libraries, which its first load waits for.
    `lost_at`: when its process was lost last, Unix time, and `lost_reason` why.
    """

    device: str
    state: str
    loaded: tuple[str, ...] = ()
    running: int = 0
    work: tuple[TaskWork, ...] = ()
    restarts: int = 0
    memory_mb: int = 0
    slots: int = 1
    loading: str = ""
    load_s: float | None = None
    has_imported: bool = False
    lost_at: float | None = None
    lost_reason: str = ""
    backends: tuple[str, ...] = ("torch",)
    totals: DeviceTotals = field(default_factory=DeviceTotals)


@dataclass(frozen=True, kw_only=True)
class UnloadResult:
    """Result of unloading models. `models` were unloaded; `busy` ones stay loaded because jobs are running on them."""

    models: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    freed_mb: int = 0


class ModerationPolicy(Protocol):
    """Decides which input and output images are allowed (implemented by `bot.usecases.Moderation`)."""

    async def rules_for(self, job: Job, model: ModelSpec) -> SafetyRules | None:
        """The rules for the job's task; None: its images need no check. Raises: StorageBusy."""

    async def check_written(self, job: Job, options: Mapping[str, Any]) -> None:
        """Of texts that a plugin wrote for the job. Raises: Blocked."""

    async def check_caption(self, job: Job, caption: str, *, reason: str = "picture") -> None:
        """Before what a model sees in a picture, or writes, becomes a part of the job's prompt. Raises: Blocked."""

    async def check_words(self, account_id: str, text: str) -> None:
        """Before a text is repeated, to people or to a model. Raises: Blocked."""

    def on_model_loaded(self, described: ModelCapabilities) -> None:
        """Learn from a loaded model's capabilities whether the classifier was loaded too."""

    def apply_rules(self, output: TaskOutput, rules: SafetyRules | None) -> TaskOutput:
        """Mark each image of the output as the rules require. Raises: Blocked."""


PoolEvent = Progress | Measurement | ModelCapabilities | Candidates | TaskOutput


class Pool(Protocol):
    def list_offers(self, reserved: Mapping[str, Sequence[str]] | None = None) -> list[Offer]:
        """One offer for each device that can accept a task now.

        `reserved`: models of tasks that were claimed for a device but have not been started, by device name.
        """

    def run_task(self, task: Task) -> AsyncGenerator[PoolEvent, None]:
        """Run a task on a device that offered its model; ends after the `TaskOutput`. Closing the iterator cancels it.

        Raises: JobCancelled (after `cancel_task`), Interrupted (draining), ModelUnavailable, OutOfMemory,
        EngineTimeout, WorkerLost, InvalidOption (the model rejected a value), Blocked (an image could not be checked
        or is not allowed), EngineError.
        """

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        """Offer these models from now on; running tasks continue. A task may use a model that is not offered."""

    def cancel_task(self, task_id: str) -> None:
        """Stop it at the next step; a task that is not running is ignored."""

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        """Let these images of a task go on that wait after this step, and drop its others; a task that does not wait
        there is ignored."""

    def set_previews(self, task_id: str, wanted: bool) -> None:
        """Start or stop making previews for it."""

    async def wait_for_change(self) -> None:
        """Return when offers may have changed since the last call."""

    def device_statuses(self) -> list[DeviceStatus]: ...

    async def unload_idle_models(self) -> UnloadResult:
        """Unload every model that no task is using and free its device memory; its next job loads it again."""

    async def drain(self, deadline_s: float) -> None:
        """Stop offering; let running tasks finish until the deadline, then interrupt them."""
