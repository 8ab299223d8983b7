"""Pure: where each part of the models wanted warm lives, so that they fit and nothing is moved without need.

Parts are placed, not models: what fits stays on the device whole; text encoders, needed once for each prompt, are the
first to leave it. Every figure is an estimate, but more memory never makes a plan worse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from bot.i18n import N_
from bot.memory.components import Part, Role

SPARE_MB = 600
"""Of a device's memory, for the driver and its allocator."""
RAM_SPARE_MB = 500
"""Of the main memory that is free, for what loading takes beside the weights."""
SWAP = 8.0
"""What a model costs that has to be loaded again when it is asked for, on the scale of `_COSTS`."""
OWN_MEMORY = frozenset({"cuda", "rocm", "xpu"})
"""Kinds of devices that have memory of their own; the others share the machine's."""
EIGHT_BIT = "8bit"
_TILED = 4
"""A decode in tiles takes this part of what a whole one takes."""
_STREAMED = 8
"""Of a streamed part, one of so many is on the device at a time."""


class Place(StrEnum):
    """RESIDENT: on the device. PHASED: comes whole for a prompt or picture and leaves. STREAMED: comes block by block
    (group offload). TURNS: parts replace one another on the device (model offload). CPU: computes in main memory."""

    RESIDENT = "resident"
    PHASED = "phased"
    STREAMED = "streamed"
    TURNS = "turns"
    CPU = "cpu"


_COSTS = {Place.RESIDENT: 0.0, Place.PHASED: 2.0, Place.STREAMED: 5.0, Place.TURNS: 12.0, Place.CPU: 40.0}
"""How much is lost by a place, on a scale where a decode in tiles costs 1. They order the plans, no more."""
_TILING, _SMALL_ENCODER, _SMALL_CORE, _STREAMED_CORE = 1.0, 3.0, 6.0, 20.0
_CORE = (Role.DENOISER, Role.LANGUAGE_MODEL)
"""Needed at every step."""
_AT_TIMES = (Role.TEXT_ENCODER, Role.VISION)
"""Needed once for each prompt or picture."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A model to be placed.

    Attributes:
        work_mb: what a step takes beside the weights.
        decode_mb: what a decode takes beside them; it may run while another step does.
        quantize: "auto" (8 bits rather than moving weights about), "none" or "8bit".
        load_mb: main memory that loading takes; 0: that of all weights.
        cpu: formats it may have on the CPU and main memory that it takes in each, MiB, the best first; empty: none.
    """

    name: str
    parts: tuple[Part, ...]
    work_mb: int = 0
    decode_mb: int = 0
    quantize: str = "auto"
    load_mb: int = 0
    cpu: tuple[tuple[str, int], ...] = ()

    @property
    def size_mb(self) -> int:
        return sum(part.size_mb for part in self.parts)

    @property
    def loading_mb(self) -> int:
        return self.load_mb or self.size_mb


@dataclass(frozen=True, kw_only=True)
class Room:
    """What there is. `device_mb`: the device's budget, 0: unknown, which is taken for enough; `ram_mb` likewise."""

    kind: str
    device_mb: int = 0
    ram_mb: int = 0
    can_quantize: bool = False

    def has(self, device_mb: int, ram_mb: int) -> bool:
        """Room for so much, and to spare. Nothing always finds room."""
        return _holds(self.device_mb, device_mb, SPARE_MB) and _holds(self.ram_mb, ram_mb, RAM_SPARE_MB)


def _holds(total_mb: int, need_mb: int, spare_mb: int) -> bool:
    return not total_mb or not need_mb or need_mb + spare_mb <= total_mb


@dataclass(frozen=True, kw_only=True)
class Seat:
    place: Place
    is_small: bool = False
    """In 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one model lives. MiB of the device: `resting_mb` always, `step_mb` more in a step, `decode_mb` in a decode.

    Attributes:
        seats: by the part's name.
        ram_mb: main memory that it keeps; `load_mb` while it is loaded.
        is_tiled: the decoder works in slices and tiles.
        format: on the CPU, the number format to take; else "".
        cost: what it loses; 0: nothing.
    """

    model: str
    seats: dict[str, Seat] = field(hash=False)
    resting_mb: int = 0
    step_mb: int = 0
    decode_mb: int = 0
    ram_mb: int = 0
    load_mb: int = 0
    is_tiled: bool = False
    format: str = ""
    cost: float = 0.0

    @property
    def peak_mb(self) -> int:
        return self.resting_mb + self.step_mb + self.decode_mb

    @property
    def places(self) -> frozenset[Place]:
        return frozenset(seat.place for seat in self.seats.values())

    @property
    def is_whole(self) -> bool:
        """Nothing is ever moved."""
        return self.places <= {Place.RESIDENT}

    @property
    def is_crawling(self) -> bool:
        """Most weights are moved again and again."""
        return self.cost >= _STREAMED_CORE and Place.CPU not in self.places

    @property
    def words(self) -> tuple[str, ...]:
        """What it costs, in sentences to be translated; empty: nothing."""
        said = [_WORDS[place] for place in Place if place in self.places and place in _WORDS]
        if self.is_crawling:
            said = [CRAWLS]
        said += [SMALL] if any(seat.is_small for seat in self.seats.values()) else []
        return (*said, *((TILES,) if self.is_tiled else ()))


_WORDS = {
    Place.PHASED: N_("Parts that are needed once come to the device for each new prompt or picture and leave again."),
    Place.STREAMED: N_("Its text encoder passes through the device for each new prompt, which takes about a second."),
    Place.TURNS: N_("Its parts take turns on the device, which takes seconds for each picture."),
    Place.CPU: N_("It runs on the CPU, which takes several times as long."),
}
CRAWLS = N_("Its weights pass through the device at every step, which is slow.")
SMALL = N_("Some of its weights are kept in 8 bits, which changes pictures and answers very little.")
TILES = N_("Pictures are decoded in tiles, which takes a little longer.")


@dataclass(frozen=True, kw_only=True)
class Seating:
    """Plans of the models that are warm together, and the names of those that must be loaded when asked for."""

    plans: tuple[Plan, ...]
    out: tuple[str, ...] = ()


def plan(wanted: Wanted, room: Room) -> Plan | None:
    """The best plan for the model alone; None: it cannot be had here."""
    return next((one for one in plans(wanted, room) if fit_together([one], room)), None)


def plans(wanted: Wanted, room: Room) -> list[Plan]:
    """Every way in which such a device can run it, whether it fits or not; the best first."""
    return sorted(_all(wanted, room), key=lambda one: (one.cost, one.peak_mb, one.ram_mb))


def seat(models: Sequence[Wanted], room: Room) -> Seating:
    """The best seating of models, the most recently used first: what is used least is the first to go.

    A model is rather made a little slower than loaded again each time, and rather loaded again than moved about at
    every picture.
    """
    choices: list[list[Plan | None]] = [[*_useful(plans(one, room), room), None] for one in models]
    alone = [choice[0].cost if choice[0] is not None else 0.0 for choice in choices]
    best = min(_combinations(choices, room), key=lambda combination: _loss(combination, alone))
    kept = tuple(one for one in best if one is not None)
    out = [model for model, one in zip(models, best, strict=True) if one is None]
    return Seating(plans=kept, out=tuple(model.name for model in out))


def beside(newcomer: Wanted, others: Sequence[Plan], room: Room) -> Plan | None:
    """The newcomer's best plan beside models that are loaded already and stay as they are; None: one should go, because
    it would lose more by squeezing in than by that."""
    alone = plan(newcomer, room)
    if alone is None:
        return None
    fitting = (one for one in plans(newcomer, room) if fit_together([one, *others], room))
    return next((one for one in fitting if one.cost < alone.cost + SWAP), None)


def fit_together(seated: Iterable[Plan], room: Room) -> bool:
    """Steps of different models never overlap; a decode may overlap with a step of another model."""
    seated = list(seated)
    step_mb = max((one.step_mb for one in seated), default=0)
    decode_mb = max((one.decode_mb for one in seated), default=0)
    resting_mb = sum(one.resting_mb for one in seated)
    loading_mb = max((one.load_mb - one.ram_mb for one in seated), default=0)
    return room.has(resting_mb + step_mb + decode_mb, sum(one.ram_mb for one in seated) + max(0, loading_mb))


def _combinations(choices: Sequence[Sequence[Plan | None]], room: Room) -> Iterable[tuple[Plan | None, ...]]:
    for combination in product(*choices):
        if fit_together((one for one in combination if one is not None), room):
            yield combination


def _loss(combination: Sequence[Plan | None], alone: Sequence[float]) -> tuple[float, int]:
    """`alone`: what each model costs by itself. What goes out weighs more the more recently it was used."""
    swaps = [SWAP + (len(alone) - place) / 100 for place, one in enumerate(combination) if one is None]
    costs = [least if one is None else one.cost for one, least in zip(combination, alone, strict=True)]
    return sum(costs) + sum(swaps), len(swaps)


def _useful(ordered: list[Plan], room: Room) -> list[Plan]:
    """Those that fit alone and take less of something than each better one."""
    kept: list[Plan] = []
    for one in ordered:
        sizes = _sizes(one)
        is_better = all(any(a < b for a, b in zip(sizes, _sizes(other), strict=True)) for other in kept)
        if is_better and fit_together([one], room):
            kept.append(one)
    return kept


def _sizes(one: Plan) -> tuple[int, ...]:
    return one.resting_mb, one.step_mb, one.decode_mb, one.ram_mb, one.load_mb


# ---------------------------------------------------------------- all plans of one model


def _all(wanted: Wanted, room: Room) -> Iterable[Plan]:
    if room.kind == "cpu":
        yield from _on_cpu(wanted, 0.0)
        return
    shares = room.kind not in OWN_MEMORY
    has_decoder = any(part.role is Role.VAE for part in wanted.parts)
    tilings = (False, True) if has_decoder else (False,)
    formats = list(_formats(wanted, room))
    for (small_rare, small_core), is_tiled in product(formats, tilings):
        for place in _places_of_the_rare(wanted, shares=shares, is_small=small_rare):
            yield _laid_out(wanted, place, small_rare, small_core, is_tiled=is_tiled, shares=shares)
    if shares:
        return
    if not has_decoder:
        yield from _on_cpu(wanted, _COSTS[Place.CPU])
    elif (False, False) in formats:
        yield from (_in_turns(wanted, is_tiled=is_tiled) for is_tiled in tilings)
        yield _streamed(wanted)


def _places_of_the_rare(wanted: Wanted, *, shares: bool, is_small: bool) -> list[Place]:
    """Only text encoders are streamed, and only in their own format."""
    roles = {part.role for part in wanted.parts}
    if shares or not roles & set(_AT_TIMES):
        return [Place.RESIDENT]
    streams = Role.TEXT_ENCODER in roles and not is_small
    return [Place.RESIDENT, Place.PHASED, *([Place.STREAMED] if streams else [])]


def _formats(wanted: Wanted, room: Room) -> Iterable[tuple[bool, bool]]:
    """Whether parts needed at times and those needed at every step are in 8 bits."""
    can_shrink = room.can_quantize and wanted.quantize != "none"
    if can_shrink and wanted.quantize == EIGHT_BIT:
        return [(True, True)]
    return [(False, False), (True, False), (False, True), (True, True)] if can_shrink else [(False, False)]


def _laid_out(
    wanted: Wanted, rarely: Place, small_rare: bool, small_core: bool, *, is_tiled: bool, shares: bool
) -> Plan:
    """What is needed at every step stays on the device; what is needed at times is where `rarely` says."""
    seats: dict[str, Seat] = {}
    resting_mb = coming_mb = ram_mb = 0
    for part in wanted.parts:
        is_rare = part.role in _AT_TIMES
        wants_small = small_rare if is_rare else small_core and part.role in _CORE
        is_small = wants_small and 0 < part.small_mb < part.size_mb
        size_mb = part.small_mb if is_small else part.size_mb
        place = rarely if is_rare else Place.RESIDENT
        seats[part.name] = Seat(place=place, is_small=is_small)
        if place is Place.RESIDENT:
            resting_mb += size_mb
        else:
            ram_mb += size_mb
            coming_mb = max(coming_mb, size_mb if place is Place.PHASED else -(-size_mb // _STREAMED))
    asked = wanted.quantize == EIGHT_BIT
    cost = _COSTS[rarely] + _TILING * is_tiled
    cost += 0 if asked else _SMALL_ENCODER * small_rare + _SMALL_CORE * small_core
    return Plan(
        model=wanted.name,
        seats=seats,
        resting_mb=resting_mb,
        step_mb=wanted.work_mb + coming_mb,
        decode_mb=_decode_mb(wanted, is_tiled),
        ram_mb=resting_mb if shares else ram_mb,
        load_mb=wanted.loading_mb,
        is_tiled=is_tiled,
        cost=cost,
    )


def _in_turns(wanted: Wanted, *, is_tiled: bool) -> Plan:
    """The largest part at a time, and never a decode beside a step."""
    largest_mb = max((part.size_mb for part in wanted.parts), default=0)
    return Plan(
        model=wanted.name,
        seats={part.name: Seat(place=Place.TURNS) for part in wanted.parts},
        step_mb=largest_mb + max(wanted.work_mb, _decode_mb(wanted, is_tiled)),
        ram_mb=wanted.size_mb,
        load_mb=wanted.loading_mb,
        is_tiled=is_tiled,
        cost=_COSTS[Place.TURNS] + _TILING * is_tiled,
    )


def _streamed(wanted: Wanted) -> Plan:
    """Everything but the decoder passes through in blocks."""
    stays = [part for part in wanted.parts if part.role in (Role.VAE, Role.OTHER)]
    passing = [part for part in wanted.parts if part not in stays]
    seats = {part.name: Seat(place=Place.RESIDENT if part in stays else Place.STREAMED) for part in wanted.parts}
    block_mb = max((-(-part.size_mb // _STREAMED) for part in passing), default=0)
    return Plan(
        model=wanted.name,
        seats=seats,
        resting_mb=sum(part.size_mb for part in stays),
        step_mb=block_mb + wanted.work_mb,
        decode_mb=_decode_mb(wanted, is_tiled=True),
        ram_mb=sum(part.size_mb for part in passing),
        load_mb=wanted.loading_mb,
        is_tiled=True,
        cost=_STREAMED_CORE + _TILING,
    )


def _on_cpu(wanted: Wanted, cost: float) -> Iterable[Plan]:
    """In each of the formats; a decoder there works on the whole picture."""
    for lost, (form, size_mb) in enumerate(wanted.cpu):
        yield Plan(
            model=wanted.name,
            seats={part.name: Seat(place=Place.CPU, is_small=form == EIGHT_BIT) for part in wanted.parts},
            ram_mb=size_mb + wanted.work_mb + wanted.decode_mb,
            load_mb=size_mb,
            format=form,
            cost=cost + lost,
        )


def _decode_mb(wanted: Wanted, is_tiled: bool) -> int:
    return -(-wanted.decode_mb // _TILED) if is_tiled else wanted.decode_mb
