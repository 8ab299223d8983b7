"""Pure: would a model run on this machine, and how quickly; and which presets suit it."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.models import (
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelSpec,
)

SPARE_MB = 600
"""Of a device's memory, for the driver and what a step needs beside the weights."""
RAM_SPARE_MB = 2000
"""Of the main memory, for the system and the other processes."""
OFFLOAD_SLOWER = 1.6
"""How much longer a picture takes when the parts take turns on the device. An estimate."""
ANSWER_TOKENS = 10
"""Tokens of a usual answer."""
SHARING = ("mps", "cpu")
"""Kinds of devices whose memory is the machine's."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A machine. `devices`: (name, kind, MiB) of each, as torch finds them; memory 0: unknown."""

    devices: tuple[tuple[str, str, int], ...]
    ram_mb: int
    free_ram_mb: int
    disk_free_mb: int

    @property
    def accelerator(self) -> tuple[str, str, int] | None:
        """The one with the most memory; None on a machine that has but its CPU."""
        found = [device for device in self.devices if device[1] != "cpu"]
        return max(found, key=lambda device: device[2], default=None)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model would run.

    Attributes:
        place: "resident", "offload" (its parts take turns on the device), "cpu" or "no".
        seconds: for one picture or answer of the usual size, expected; 0: unknown.
        lacks: what is short, in words; empty unless `place` is "no".
        disk_mb: what is short on the disk for fetching it, MiB; 0: nothing.
    """

    place: str
    seconds: float = 0.0
    lacks: str = ""
    disk_mb: int = 0


def fit(spec: ModelSpec, hardware: Hardware) -> Fit:
    """Unknown figures are taken for fitting: the loader looks again, with the files at hand."""
    disk_mb = max(0, spec.download_mb - hardware.disk_free_mb)
    device = hardware.accelerator
    usable_mb = device[2] - SPARE_MB if device else 0
    ram_mb = spec.ram_mb or spec.memory_mb
    has_ram = not ram_mb or ram_mb + RAM_SPARE_MB <= hardware.ram_mb
    if device is not None and device[1] not in SHARING and (not device[2] or spec.memory_mb <= usable_mb):
        return Fit(place="resident", seconds=_seconds(spec, spec.step_s), disk_mb=disk_mb)
    if device is not None and device[1] in SHARING and has_ram:
        return Fit(place="resident", seconds=_seconds(spec, spec.step_s), disk_mb=disk_mb)
    if device is not None and spec.offload_mb and spec.offload_mb <= usable_mb and has_ram:
        return Fit(place="offload", seconds=_seconds(spec, spec.step_s) * OFFLOAD_SLOWER, disk_mb=disk_mb)
    if has_ram and (device is None or _is_small_on_cpu(spec)):
        return Fit(place="cpu", seconds=_seconds(spec, spec.cpu_step_s or spec.step_s), disk_mb=disk_mb)
    return Fit(place="no", lacks=_lacks(spec, hardware, device, ram_mb, has_ram=has_ram), disk_mb=disk_mb)


def _seconds(spec: ModelSpec, step_s: float) -> float:
    if TEXT_TO_IMAGE in spec.tasks:
        steps = spec.steps
    else:
        steps = 1 if ZERO_SHOT_IMAGE_CLASSIFICATION in spec.tasks else min(ANSWER_TOKENS, spec.max_new_tokens)
    return round(spec.overhead_s + steps * step_s, 1)


def _is_small_on_cpu(spec: ModelSpec) -> bool:
    """Answers are worth waiting for on the CPU when a picture model fills the device."""
    return TEXT_TO_IMAGE not in spec.tasks


def _lacks(
    spec: ModelSpec, hardware: Hardware, device: tuple[str, str, int] | None, ram_mb: int, *, has_ram: bool
) -> str:
    if not has_ram:
        return f"{gib(ram_mb + RAM_SPARE_MB)} of memory, there are {gib(hardware.ram_mb)}"
    assert device is not None
    need = spec.offload_mb or spec.memory_mb
    return f"{gib(need + SPARE_MB)} on the device, {device[0]} has {gib(device[2])}"


def gib(mb: int) -> str:
    """MiB for people."""
    return f"{mb / 1024:.1f} GiB"


def choose(presets: Iterable[ModelSpec], hardware: Hardware) -> dict[str, str | None]:
    """The advice: `{"image": name, "vision": name}`, None where only the starter suits.

    Of what fits: the largest (larger ones draw and see better, as a rule), for pictures one that needs no more than a
    minute each; what may be used for anything before what has a non-commercial licence. What cannot be fetched for
    want of disk is no advice.
    """
    known = [(spec, fit(spec, hardware)) for spec in presets]
    fitting = [(spec, how) for spec, how in known if how.place != "no" and not how.disk_mb]
    image = [(spec, how) for spec, how in fitting if TEXT_TO_IMAGE in spec.tasks and how.seconds <= 60]
    vision = [(spec, how) for spec, how in fitting if {IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING} <= set(spec.tasks)]
    best_image = max(image, key=lambda pair: (pair[0].commercial, pair[0].memory_mb), default=None)
    best_vision = max(vision, key=lambda pair: (pair[0].commercial, pair[0].memory_mb), default=None)
    return {
        "image": best_image[0].name if best_image else None,
        "vision": best_vision[0].name if best_vision else None,
    }
