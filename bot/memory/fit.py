"""Pure: would a model run on this machine, and how quickly; and which presets suit it."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from bot.memory import placement
from bot.memory.components import Part, Role, role_of
from bot.memory.placement import SPARE_MB, Place, Plan, Room, Wanted
from bot.models import (
    IMAGE_TO_TEXT,
    PICTURE_TASKS,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelSpec,
)

RAM_SPARE_MB = 2000
"""Of the main memory, for the system and the other processes."""
SLOWER = {Place.TURNS: 1.6, Place.STREAMED: 1.1, Place.PHASED: 1.1}
"""How much longer a picture takes when parts come and go. Estimates."""
CRAWL = 4.0
"""The same when all weights pass through the device at every step."""
ANSWER_TOKENS = 10
"""Tokens of a usual answer."""
SHARING = ("mps", "cpu")
"""Kinds of devices whose memory is the machine's."""
SMALLER = {Role.DENOISER: 0.6, Role.TEXT_ENCODER: 0.6, Role.LANGUAGE_MODEL: 0.6}
"""What is left of a part in 8 bits: its embeddings and convolutions stay as they are. Estimates."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A machine. `devices`: (name, kind, MiB) of each, as torch finds them; memory 0: unknown. `can_quantize`: torchao
    is installed."""

    devices: tuple[tuple[str, str, int], ...]
    ram_mb: int
    free_ram_mb: int
    disk_free_mb: int
    can_quantize: bool = False

    @property
    def accelerator(self) -> tuple[str, str, int] | None:
        """The one with the most memory; None on a machine that has but its CPU."""
        found = [device for device in self.devices if device[1] != "cpu"]
        return max(found, key=lambda device: device[2], default=None)

    @property
    def room(self) -> Room:
        """For plans."""
        _, kind, device_mb = self.accelerator or ("cpu", "cpu", 0)
        ram_mb = max(1, self.ram_mb - RAM_SPARE_MB + placement.RAM_SPARE_MB) if self.ram_mb else 0
        return Room(kind=kind, device_mb=device_mb, ram_mb=ram_mb, can_quantize=self.can_quantize)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model would run.

    Attributes:
        place: "resident", "offload" (parts of it come to the device and go), "cpu" or "no".
        seconds: for one picture or answer of the usual size, expected; 0: unknown.
        words: what its place costs, in sentences; empty: nothing.
        is_crawling: most of its weights are moved at every step.
        lacks: what is short, in words; empty unless `place` is "no".
        disk_mb: what is short on the disk for fetching it, MiB; 0: nothing.
    """

    place: str
    seconds: float = 0.0
    words: tuple[str, ...] = ()
    is_crawling: bool = False
    lacks: str = ""
    disk_mb: int = 0


def can_quantize() -> bool:
    """What makes 8-bit weights is installed."""
    return find_spec("torchao") is not None


def fit(spec: ModelSpec, hardware: Hardware) -> Fit:
    """By the same plan as the loader's, which has the files at hand; unknown figures are taken for fitting."""
    disk_mb = max(0, spec.download_mb - hardware.disk_free_mb)
    wanted = wanted_of(spec, has_accelerator=hardware.accelerator is not None)
    plan = placement.plan(wanted, hardware.room)
    if plan is None:
        return Fit(place="no", lacks=_lacks(wanted, hardware), disk_mb=disk_mb)
    return Fit(
        place=_place(plan),
        seconds=_seconds(spec, plan),
        words=plan.words if hardware.accelerator else (),
        is_crawling=plan.is_crawling,
        disk_mb=disk_mb,
    )


def wanted_of(spec: ModelSpec, *, has_accelerator: bool) -> Wanted:
    """What is known of it without its files."""
    is_picture_model = bool(PICTURE_TASKS & set(spec.tasks))
    parts = tuple(_part(name, size_mb) for name, size_mb in spec.parts_mb.items())
    parts = parts or _guessed_parts(spec, is_picture_model)
    size_mb = sum(part.size_mb for part in parts)
    need_mb = spec.ram_mb or spec.memory_mb
    known = bool(spec.parts_mb)
    half = ("bfloat16", max(0, need_mb - spec.work_mb - spec.decode_mb))
    full = (("float32", 2 * size_mb),) if known and spec.dtype == "auto" else ()
    return Wanted(
        name=spec.name,
        parts=parts,
        work_mb=spec.work_mb,
        decode_mb=spec.decode_mb,
        quantize=spec.quantize,
        load_mb=need_mb,
        cpu=() if has_accelerator and is_picture_model else (*full, half),
    )


def _part(name: str, size_mb: int) -> Part:
    role = role_of(name)
    return Part(name=name, role=role, size_mb=size_mb, small_mb=int(size_mb * SMALLER.get(role, 0)))


def _guessed_parts(spec: ModelSpec, is_picture_model: bool) -> tuple[Part, ...]:
    """Of a model whose parts nobody told: as many as take turns by `offload_mb`, else one that cannot be divided."""
    weights_mb = max(0, spec.memory_mb - spec.work_mb - spec.decode_mb)
    largest_mb = spec.offload_mb
    if not (is_picture_model and 0 < largest_mb < weights_mb):
        role = Role.DENOISER if is_picture_model else Role.LANGUAGE_MODEL
        return (Part(name="model", role=role, size_mb=weights_mb),)
    encoders = -(-(weights_mb - largest_mb) // largest_mb)
    rest = tuple(
        Part(name=f"text_encoder_{number}", role=Role.TEXT_ENCODER, size_mb=(weights_mb - largest_mb) // encoders)
        for number in range(encoders)
    )
    vae = Part(name="vae", role=Role.VAE, size_mb=0)
    return (Part(name="denoiser", role=Role.DENOISER, size_mb=largest_mb), *rest, vae)


def _place(plan: Plan) -> str:
    if Place.CPU in plan.places:
        return "cpu"
    return "resident" if plan.is_whole else "offload"


def _seconds(spec: ModelSpec, plan: Plan) -> float:
    if TEXT_TO_IMAGE in spec.tasks:
        steps = spec.steps
    else:
        steps = 1 if ZERO_SHOT_IMAGE_CLASSIFICATION in spec.tasks else min(ANSWER_TOKENS, spec.max_new_tokens)
    step_s = (spec.cpu_step_s or spec.step_s) if Place.CPU in plan.places else spec.step_s
    slower = CRAWL if plan.is_crawling else max(SLOWER.get(place, 1.0) for place in plan.places)
    return round(spec.overhead_s + steps * step_s * slower, 1)


def _lacks(wanted: Wanted, hardware: Hardware) -> str:
    """The least that would do: of main memory, else of the device's."""
    room, device = hardware.room, hardware.accelerator
    least_mb = min(max(one.load_mb, one.ram_mb) for one in placement.plans(wanted, room))
    if device is None or not room.has(0, least_mb):
        return f"{gib(least_mb + RAM_SPARE_MB)} of memory, there are {gib(hardware.ram_mb)}"
    need_mb = min(one.peak_mb for one in placement.plans(wanted, room) if Place.CPU not in one.places)
    return f"{gib(need_mb + SPARE_MB)} on the device, {device[0]} has {gib(device[2])}"


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
    fitting = [(spec, how) for spec, how in known if how.place != "no" and not (how.disk_mb or how.is_crawling)]
    image = [(spec, how) for spec, how in fitting if TEXT_TO_IMAGE in spec.tasks and how.seconds <= 60]
    vision = [(spec, how) for spec, how in fitting if {IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING} <= set(spec.tasks)]
    best_image = max(image, key=lambda pair: (pair[0].commercial, pair[0].memory_mb), default=None)
    best_vision = max(vision, key=lambda pair: (pair[0].commercial, pair[0].memory_mb), default=None)
    return {
        "image": best_image[0].name if best_image else None,
        "vision": best_vision[0].name if best_vision else None,
    }
