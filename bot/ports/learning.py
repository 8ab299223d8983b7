"""Learning: adapters that are trained on this machine, corrections with consent, and embeddings of images."""

import struct
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from bot.models import ModelSpec

AdapterKind = Literal["vision", "image"]
AdapterState = Literal["accepted", "rejected", "retired"]
"""It passed its test and may be used; it failed; an example that it learned from was withdrawn."""
OWN_REPLAY, NO_REPLAY = "own", "none"
"""Values of `TrainingRequest.replay`: images of the training folder and renders of starter prompts; no replay."""
MIN_NEW_GAIN, MAX_OLD_LOSS = 20.0, 2.0
"""An adapter is accepted if right answers about new things rise by at least so many percentage points, and those about
old things fall by less than so many."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What to train.

    Attributes:
        model: as it serves people.
        name: of the adapter.
        folder: of the images, with `metadata.jsonl`.
        work: a private folder for checkpoints, features and replay, kept until the training is over.
        output: the folder that the adapter is written to; it is complete or absent.
        replay: `OWN_REPLAY`, `NO_REPLAY` or a folder of images.
        steps: 0: as many as the examples need.
        words: of an image adapter, the words in prompts that name what it learned.
        captions: of an image adapter, by file name, made by the vision model where the folder has none.
        corrections: ids of the corrections that examples came from, by file name.
        device: "cpu", "cuda:0", ...
        threads: 0: torch's default.
    """

    kind: AdapterKind
    model: ModelSpec
    name: str
    folder: str
    work: str
    output: str
    replay: str = OWN_REPLAY
    steps: int = 0
    seed: int = 0
    words: str = ""
    captions: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """`stage`: "queued" (another training runs), "waiting" (for people's jobs), "checking", "captioning", "encoding",
    "replaying", "training" or "testing"; `done` of `total` parts of it.

    `loss`: of the latest steps, smoothed; None: not yet known.
    """

    stage: str
    done: int = 0
    total: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Score:
    """How many of `total` were right."""

    right: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.right / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class TestedExample:
    """One question of the test, and the answers without and with the adapter. `question` empty: a caption."""

    file: str
    question: str
    expected: str
    before: str
    after: str
    is_new: bool


@dataclass(frozen=True)
class TrainedExample:
    """`digest`: SHA-256 of image, question and answer. `correction`: the id of the one it came from; None: the owner's
    own."""

    digest: str
    correction: str | None = None
    is_held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The report card of an adapter.

    Attributes:
        new_before, new_after: examples that were held out of the training, without and with the adapter.
        old_before, old_after: what the model knew.
        examples: ten, the most instructive first.
        trained: everything it learned from.
        samples: of an image adapter, paths in its folder of pictures without and with it, in pairs.
        match_before, match_after: of an image adapter, mean matching probability of its samples and prompts.
        words, family: of an image adapter, what names it in prompts, and of which models it is, as LoRAs say it.
        sha256: of the weights.
        peak_mb: the process's largest memory use, MiB.
        losses: step and smoothed loss.
    """

    kind: AdapterKind
    new_before: Score
    new_after: Score
    old_before: Score
    old_after: Score
    examples: tuple[TestedExample, ...] = ()
    trained: tuple[TrainedExample, ...] = ()
    samples: tuple[str, ...] = ()
    match_before: float | None = None
    match_after: float | None = None
    words: str = ""
    family: str = ""
    sha256: str = ""
    revision: str = ""
    steps: int = 0
    seconds: float = 0.0
    peak_mb: int = 0
    losses: tuple[tuple[int, float], ...] = ()

    @property
    def gain(self) -> float:
        """Percentage points of new answers."""
        return self.new_after.percent - self.new_before.percent

    @property
    def loss(self) -> float:
        """Percentage points of old answers."""
        return self.old_before.percent - self.old_after.percent

    @property
    def is_accepted(self) -> bool:
        return self.gain >= MIN_NEW_GAIN and self.loss < MAX_OLD_LOSS


class Trainer(Protocol):
    """Trains adapters, one at a time, each in a process of its own that yields to people."""

    def train(
        self, request: TrainingRequest, *, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[TrainingProgress | TrainingReport, None]:
        """Check the folder, train, test and write the adapter; ends after its report.

        Closing the iterator stops it; the next request with the same `work` resumes from the last checkpoint.

        `is_paused`: whether it has to wait, because people's jobs are running.

        Raises: TrainingRefused: a sentence says why, such as a broken image or a full disk.
        """


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
    """An adapter that was trained here. `revision`: of the model it was trained on; `report`: as JSON."""

    name: str
    kind: AdapterKind
    model: str
    revision: str
    sha256: str
    state: AdapterState
    report: Mapping[str, Any]
    created_at: datetime


class AdapterStore(Protocol):
    async def save_adapter(self, adapter: AdapterRecord, examples: Sequence[TrainedExample]) -> None:
        """Insert it, or replace one of the same name. An example whose consent was withdrawn meanwhile retires it."""

    async def list_adapters(self) -> list[AdapterRecord]:
        """By name."""

    async def delete_adapter(self, name: str) -> bool:
        """Whether there was one."""

    async def retire_adapters(self, corrections: Collection[str]) -> list[AdapterRecord]:
        """Retire those that learned from these corrections; returns them."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person says a caption or an answer should have been.

    Attributes:
        question: empty: it is a caption.
        answer: the model's.
        consented_at: when its use for training was allowed; None: it is not allowed.
        withdrawn_at: when that was withdrawn; `consented_at` is None then.
    """

    id: str
    job: str
    person: str
    media: str
    question: str
    answer: str
    text: str
    created_at: datetime
    consented_at: datetime | None = None
    withdrawn_at: datetime | None = None


class CorrectionStore(Protocol):
    """Consent is given once and withdrawn once: what is consented to again, or with other words, gets a new id."""

    async def save_correction(self, correction: Correction) -> Correction:
        """Insert or replace that of the job; repeating it changes nothing. Returns it as it is stored.

        Raises: JobNotFound: the job is not the person's or was deleted; ImageGone: its image was deleted;
            InvalidOption: it has consent, and the job or its image came from elsewhere.
        """

    async def delete_correction(self, job: str, person: str) -> Correction | None:
        """With its consent; that stays as withdrawn while an adapter has learned from it. Returns what was deleted.
        Raises: JobNotFound."""

    async def find_corrections(self, person: str, jobs: Collection[str]) -> dict[str, Correction]:
        """By job."""

    async def list_consented(self) -> list[Correction]:
        """All that may be used for training: with consent, of images and jobs that first came through the page, the
        command line or REST and were made from nothing else, of persons who are not forgotten or blocked; oldest
        first."""

    async def list_withdrawn(self) -> list[str]:
        """Ids of corrections whose consent was withdrawn, until `settle_withdrawn`: trainings and adapters may still
        have them."""

    async def settle_withdrawn(self, corrections: Collection[str]) -> None:
        """Trainings and adapters have forgotten them."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """What a model sees in an image: `vectors` holds `count` x `width` numbers in float16, each vector of length 1."""

    model: str
    revision: str
    count: int
    width: int
    vectors: bytes

    @property
    def rows(self) -> list[tuple[float, ...]]:
        """The vectors as numbers."""
        return list(struct.iter_unpack(f"<{self.width}e", self.vectors)) if self.count else []
