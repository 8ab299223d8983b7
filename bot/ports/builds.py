"""Compiled builds of models: made and tried on this machine, in a process of their own."""

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from bot.jobs import Media
from bot.models import ModelSpec

MIN_GAIN = 1.1
"""A build is better if it is this many times as fast as torch, on average of the tried numbers of rows,"""
MIN_ROW_GAIN = 0.9
"""and with none of these numbers slower than this."""
EXACT_LEVELS = 1
"""In float32, images may differ from torch's by this many of the 256 levels."""

LoraSet = tuple[tuple[str, float], ...]
"""File and weight of each LoRA, sorted by file, as part of keys."""


def describe_loras(loras: LoraSet) -> str:
    """Names and weights, such as "ink:0.8, film:1.0"; empty: none."""
    return ", ".join(f"{PurePath(path).stem}:{weight!r}" for path, weight in loras)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to compile.

    Attributes:
        model: as torch serves it.
        precision: "float32", "bfloat16" or "float16".
        weights: "none" keeps float32.
        loras: fused into it.
        image: an input for the trial of models that need one.
        device: where torch computes in the trial, as it does for people.
        torch_dtype: the number format in which it does; empty: by the model's `dtype`.
    """

    model: ModelSpec
    backend: str
    precision: str = "float32"
    weights: str = "none"
    loras: LoraSet = ()
    image: Media | None = None
    device: str = "cpu"
    torch_dtype: str = ""

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        """Of builds with the same names, which differ in weights, library or processor, only the newest is kept."""
        return (self.model.name, self.backend, self.precision, self.weights, describe_loras(self.loras))


@dataclass(frozen=True)
class RowSpeed:
    """Seconds of one pass of the denoiser with this many rows."""

    rows: int
    torch_s: float
    backend_s: float

    @property
    def gain(self) -> float:
        return self.torch_s / self.backend_s if self.backend_s else 0.0


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build's trial measured.

    Attributes:
        torch_mb, backend_mb: memory of the denoiser: of torch's weights, and what opening and trying the build added.
        disk_mb: of the build.
        levels: the largest difference between images of torch and of the build, of 256.
        prompts, steps: how many images were compared, of how many steps.
        dtype, quantize: the model's settings at that time, which going back to torch restores; empty: unknown.
    """

    backend: str
    precision: str
    weights: str
    speeds: tuple[RowSpeed, ...]
    torch_mb: int
    backend_mb: int
    disk_mb: int
    levels: int
    prompts: int
    steps: int
    dtype: str = "auto"
    quantize: str = ""

    @property
    def gain(self) -> float:
        """How many times as fast as torch it is: the geometric mean over the numbers of rows."""
        gains = [speed.gain for speed in self.speeds if speed.gain > 0]
        return math.exp(sum(map(math.log, gains)) / len(gains)) if gains else 0.0

    @property
    def is_exact(self) -> bool:
        """It keeps what float32 promises; other formats promise nothing."""
        return self.precision != "float32" or self.weights != "none" or self.levels <= EXACT_LEVELS

    @property
    def is_better(self) -> bool:
        is_never_slower = all(speed.gain >= MIN_ROW_GAIN for speed in self.speeds)
        return self.gain >= MIN_GAIN and is_never_slower and self.is_exact


@dataclass(frozen=True)
class BuildProgress:
    """`stage`: "waiting", "exporting", "compiling" or "trying"; `done` of `total` parts of it, if it has parts."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class BuildState:
    """One build on the disk. `loras`: fused into it, by names and weights.

    `problem`: why it is not used: "damaged", "library", "processor", "form" (another Easel exported it), "weights" or
    "model" (which is not configured any more); empty: it fits the model as it is now.
    """

    key: str
    model: str
    backend: str
    precision: str
    weights: str
    size_mb: int
    loras: str = ""
    problem: str = ""
    report: BuildReport | None = None

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        """As `BuildRequest.names`."""
        return (self.model, self.backend, self.precision, self.weights, self.loras)


class Builds(Protocol):
    """Where builds are made and kept. One is made at a time; others wait."""

    def find(self, request: BuildRequest) -> BuildReport | None:
        """The report of the build that fits the model, the library and the processor as they are now. Blocking.

        Raises: ModelRefused: the backend's library is not installed.
        """

    def make(
        self, request: BuildRequest, *, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[BuildProgress | BuildReport, None]:
        """Compile, try and keep a build; ends after its report. Closing the iterator stops it, and nothing is kept.

        `is_paused`: whether it has to wait, because people's jobs are running.

        Raises: ModelRefused: the reason, such as a full disk or a denoiser that has no compiled form.
        """

    def is_installed(self, backend: str) -> bool:
        """Whether the backend's library is."""

    def list_states(self, models: Sequence[ModelSpec]) -> list[BuildState]:
        """Every build on the disk. Blocking."""

    def remove(self, model: str, backend: str = "") -> int:
        """Delete a model's builds, of this backend or of all; returns the bytes freed. Blocking.

        Raises: ModelRefused: some cannot be deleted.
        """

    def remove_build(self, key: str) -> int:
        """Delete one build; returns the bytes freed. Blocking."""
