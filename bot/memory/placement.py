"""Pure: plans where the components of the loaded models reside, to fit the memory with as little moving as possible.

Components are placed, not models. Whatever fits stays on the device; text encoders, which are needed once per prompt,
are offloaded first. All figures are estimates, but more memory never makes a plan worse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from bot.i18n import N_
from bot.memory.components import Component, ComponentRole

SPARE_MB = 600
"""Device memory reserved for the driver and its allocator, MiB."""
RAM_SPARE_MB = 500
"""Free RAM reserved for loading, beside the weights, MiB."""
RELOAD_COST = 8.0
"""The cost of having to reload a model when it is requested, on the scale of `_RESIDENCY_COSTS`."""
DISCRETE_MEMORY_KINDS = frozenset({"cuda", "rocm", "xpu"})
"""Kinds of devices with their own memory; the others share the machine's RAM."""
EIGHT_BIT = "8bit"
_TILE_SAVING = 4
"""A tiled decode needs 1 / `_TILE_SAVING` of the memory of a whole one."""
_STREAM_BLOCKS = 8
"""A streamed component has 1 / `_STREAM_BLOCKS` of its weights on the device at a time."""


class Residency(StrEnum):
    """Where a component resides.

    RESIDENT: always on the device. ON_DEMAND: moved to the device for each prompt or image, then back to RAM. STREAMED:
    moved block by block (group offload). MODEL_OFFLOAD: components replace one another on the device. CPU: computes in
    RAM.
    """

    RESIDENT = "resident"
    ON_DEMAND = "on_demand"
    STREAMED = "streamed"
    MODEL_OFFLOAD = "model_offload"
    CPU = "cpu"


_RESIDENCY_COSTS = dict(zip(Residency, (0.0, 2.0, 5.0, 12.0, 40.0), strict=True))
"""Relative slowdown, on a scale where a tiled decode costs 1; only used to rank plans."""
_TILING_COST, _QUANTIZED_ENCODER_COST, _QUANTIZED_CORE_COST, _GROUP_OFFLOAD_COST = 1.0, 3.0, 6.0, 20.0
_PER_STEP_ROLES = (ComponentRole.DENOISER, ComponentRole.LANGUAGE_MODEL)
"""Needed at every step."""
_PER_PROMPT_ROLES = (ComponentRole.TEXT_ENCODER, ComponentRole.VISION)
"""Needed once per prompt or image."""


@dataclass(frozen=True, kw_only=True)
class ModelRequirements:
    """The memory that a model needs.

    Attributes:
        activation_mb: activations of a step, beside the weights.
        vae_decode_mb: activations of a decode, beside the weights; a decode may overlap with another step.
        quantize: "auto" (8 bits rather than offloading), "none" or "8bit".
        load_ram_mb: RAM needed for loading; 0: the size of all weights.
        cpu_formats: number formats for the CPU, best first, each with the RAM that it needs, MiB; empty: none.
    """

    name: str
    components: tuple[Component, ...]
    activation_mb: int = 0
    vae_decode_mb: int = 0
    quantize: str = "auto"
    load_ram_mb: int = 0
    cpu_formats: tuple[tuple[str, int], ...] = ()

    @property
    def size_mb(self) -> int:
        return sum(one.size_mb for one in self.components)

    @property
    def peak_load_mb(self) -> int:
        return self.load_ram_mb or self.size_mb


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """The memory available on a device (`device_mb`) and in RAM (`ram_mb`), MiB; 0: unknown, assumed sufficient."""

    kind: str
    device_mb: int = 0
    ram_mb: int = 0
    can_quantize: bool = False

    def fits(self, device_mb: int, ram_mb: int) -> bool:
        """Whether this much fits with the reserve. A need of 0 always fits."""
        return _has_headroom(self.device_mb, device_mb, SPARE_MB) and _has_headroom(self.ram_mb, ram_mb, RAM_SPARE_MB)


def _has_headroom(total_mb: int, need_mb: int, spare_mb: int) -> bool:
    return not total_mb or not need_mb or need_mb + spare_mb <= total_mb


@dataclass(frozen=True, kw_only=True)
class ComponentPlacement:
    residency: Residency
    is_quantized: bool = False
    """In 8 bits."""


@dataclass(frozen=True, kw_only=True)
class PlacementPlan:
    """The placement of one model. Device memory, MiB: `resident_mb` always, `step_mb` more during a step, `decode_mb`
    more during a decode.

    Attributes:
        placements: by component name.
        ram_mb: RAM in use; `load_mb` while it is being loaded.
        is_tiled: the decoder works in slices and tiles.
        format: the number format on the CPU, else "".
        cost: relative slowdown; 0: none.
    """

    model: str
    placements: dict[str, ComponentPlacement] = field(hash=False)
    resident_mb: int = 0
    step_mb: int = 0
    decode_mb: int = 0
    ram_mb: int = 0
    load_mb: int = 0
    is_tiled: bool = False
    format: str = ""
    cost: float = 0.0

    @property
    def peak_mb(self) -> int:
        return self.resident_mb + self.step_mb + self.decode_mb

    @property
    def residencies(self) -> frozenset[Residency]:
        return frozenset(one.residency for one in self.placements.values())

    @property
    def is_fully_resident(self) -> bool:
        """No component is ever moved."""
        return self.residencies <= {Residency.RESIDENT}

    @property
    def is_group_offloaded(self) -> bool:
        """Most weights are moved at every step."""
        return self.cost >= _GROUP_OFFLOAD_COST and Residency.CPU not in self.residencies

    @property
    def notes(self) -> tuple[str, ...]:
        """The drawbacks of the plan, as sentences to be translated."""
        notes = [note for residency, note in _RESIDENCY_NOTES.items() if residency in self.residencies]
        if self.is_group_offloaded:
            notes = [GROUP_OFFLOAD_NOTE]
        notes += [QUANTIZED_NOTE] if any(one.is_quantized for one in self.placements.values()) else []
        return (*notes, *((TILING_NOTE,) if self.is_tiled else ()))


_RESIDENCY_NOTES = {
    Residency.ON_DEMAND: N_(
        "Components that are needed once per prompt or picture are moved to the device for it, then back to RAM."
    ),
    Residency.STREAMED: N_(
        "Its text encoder is streamed through the device for each new prompt, which takes about a second."
    ),
    Residency.MODEL_OFFLOAD: N_(
        "Its components are moved to the device one after another, which takes seconds for each picture."
    ),
    Residency.CPU: N_("It runs on the CPU, which takes several times as long."),
}
GROUP_OFFLOAD_NOTE = N_("Its weights are streamed through the device at every step, which is slow.")
QUANTIZED_NOTE = N_("Some of its weights are quantized to 8 bits, which changes pictures and answers very little.")
TILING_NOTE = N_("Pictures are decoded in tiles, which takes a little longer.")


@dataclass(frozen=True, kw_only=True)
class PlacementSet:
    """Plans of the models that are loaded together, and the names of those that are loaded on request."""

    plans: tuple[PlacementPlan, ...]
    unloaded: tuple[str, ...] = ()


def best_plan(model: ModelRequirements, budget: MemoryBudget) -> PlacementPlan | None:
    """The best plan for the model alone; None: it does not fit."""
    return next((one for one in all_plans(model, budget) if fit_together([one], budget)), None)


def all_plans(model: ModelRequirements, budget: MemoryBudget) -> list[PlacementPlan]:
    """All plans for running the model on such a device, whether they fit or not; the best first."""
    return sorted(_enumerate_plans(model, budget), key=lambda one: (one.cost, one.peak_mb, one.ram_mb))


def plan_together(models: Sequence[ModelRequirements], budget: MemoryBudget) -> PlacementSet:
    """The best plans for several models, given in order of most recent use: the least recently used is unloaded first.

    A slightly slower plan is preferred to reloading a model for each request, and reloading to offloading components
    for each image.
    """
    choices: list[list[PlacementPlan | None]] = [
        [*_non_dominated(all_plans(one, budget), budget), None] for one in models
    ]
    minimum_costs = [choice[0].cost if choice[0] is not None else 0.0 for choice in choices]
    best = min(_combinations(choices, budget), key=lambda combination: _total_cost(combination, minimum_costs))
    plans = tuple(one for one in best if one is not None)
    unloaded = tuple(model.name for model, one in zip(models, best, strict=True) if one is None)
    return PlacementSet(plans=plans, unloaded=unloaded)


def plan_beside(
    model: ModelRequirements, loaded: Sequence[PlacementPlan], budget: MemoryBudget
) -> PlacementPlan | None:
    """The model's best plan beside loaded models that stay as they are; None: unloading one of them costs less than the
    slower plan."""
    best = best_plan(model, budget)
    if best is None:
        return None
    fitting = (one for one in all_plans(model, budget) if fit_together([one, *loaded], budget))
    return next((one for one in fitting if one.cost < best.cost + RELOAD_COST), None)


def fit_together(plans: Iterable[PlacementPlan], budget: MemoryBudget) -> bool:
    """Whether the plans fit at the same time. Steps of different models never overlap; a decode may overlap with a
    step."""
    plans = list(plans)
    step_mb = max((one.step_mb for one in plans), default=0)
    decode_mb = max((one.decode_mb for one in plans), default=0)
    resident_mb = sum(one.resident_mb for one in plans)
    loading_mb = max((one.load_mb - one.ram_mb for one in plans), default=0)
    return budget.fits(resident_mb + step_mb + decode_mb, sum(one.ram_mb for one in plans) + max(0, loading_mb))


def _combinations(
    choices: Sequence[Sequence[PlacementPlan | None]], budget: MemoryBudget
) -> Iterable[tuple[PlacementPlan | None, ...]]:
    for combination in product(*choices):
        if fit_together((one for one in combination if one is not None), budget):
            yield combination


def _total_cost(combination: Sequence[PlacementPlan | None], minimum_costs: Sequence[float]) -> tuple[float, int]:
    """`minimum_costs`: of each model alone. Unloading a model costs more the more recently it was used."""
    count = len(minimum_costs)
    reloads = [RELOAD_COST + (count - index) / 100 for index, one in enumerate(combination) if one is None]
    costs = [least if one is None else one.cost for one, least in zip(combination, minimum_costs, strict=True)]
    return sum(costs) + sum(reloads), len(reloads)


def _non_dominated(ordered: list[PlacementPlan], budget: MemoryBudget) -> list[PlacementPlan]:
    """Plans that fit alone and need less of some memory than each better plan."""
    plans: list[PlacementPlan] = []
    for one in ordered:
        sizes = _memory_sizes(one)
        is_better = all(any(a < b for a, b in zip(sizes, _memory_sizes(other), strict=True)) for other in plans)
        if is_better and fit_together([one], budget):
            plans.append(one)
    return plans


def _memory_sizes(one: PlacementPlan) -> tuple[int, ...]:
    return one.resident_mb, one.step_mb, one.decode_mb, one.ram_mb, one.load_mb


# ---------------------------------------------------------------- all plans of one model


def _enumerate_plans(model: ModelRequirements, budget: MemoryBudget) -> Iterable[PlacementPlan]:
    if budget.kind == "cpu":
        yield from _cpu_plans(model, 0.0)
        return
    shares_ram = budget.kind not in DISCRETE_MEMORY_KINDS
    has_decoder = any(one.role is ComponentRole.VAE for one in model.components)
    tilings = (False, True) if has_decoder else (False,)
    quantizations = list(_quantization_choices(model, budget))
    for (per_prompt, per_step), is_tiled in product(quantizations, tilings):
        for residency in _per_prompt_residencies(model, shares_ram=shares_ram, is_quantized=per_prompt):
            yield _component_plan(model, residency, per_prompt, per_step, is_tiled=is_tiled, shares_ram=shares_ram)
    if shares_ram:
        return
    if not has_decoder:
        yield from _cpu_plans(model, _RESIDENCY_COSTS[Residency.CPU])
    elif (False, False) in quantizations:
        yield from (_model_offload_plan(model, is_tiled=is_tiled) for is_tiled in tilings)
        yield _group_offload_plan(model)


def _per_prompt_residencies(model: ModelRequirements, *, shares_ram: bool, is_quantized: bool) -> list[Residency]:
    """Only text encoders are streamed, and only unquantized ones."""
    roles = {one.role for one in model.components}
    if shares_ram or not roles & set(_PER_PROMPT_ROLES):
        return [Residency.RESIDENT]
    can_stream = ComponentRole.TEXT_ENCODER in roles and not is_quantized
    return [Residency.RESIDENT, Residency.ON_DEMAND, *([Residency.STREAMED] if can_stream else [])]


def _quantization_choices(model: ModelRequirements, budget: MemoryBudget) -> Iterable[tuple[bool, bool]]:
    """Whether to quantize the components needed per prompt and those needed per step."""
    can_quantize = budget.can_quantize and model.quantize != "none"
    if can_quantize and model.quantize == EIGHT_BIT:
        return [(True, True)]
    return [(False, False), (True, False), (False, True), (True, True)] if can_quantize else [(False, False)]


def _component_plan(
    model: ModelRequirements,
    per_prompt: Residency,
    quantize_per_prompt: bool,
    quantize_per_step: bool,
    *,
    is_tiled: bool,
    shares_ram: bool,
) -> PlacementPlan:
    """Components needed at every step stay on the device; `per_prompt` is the residency of those needed per prompt."""
    placements: dict[str, ComponentPlacement] = {}
    resident_mb = moved_mb = ram_mb = 0
    for component in model.components:
        is_per_prompt = component.role in _PER_PROMPT_ROLES
        quantize = quantize_per_prompt if is_per_prompt else quantize_per_step and component.role in _PER_STEP_ROLES
        is_quantized = quantize and 0 < component.quantized_mb < component.size_mb
        size_mb = component.quantized_mb if is_quantized else component.size_mb
        residency = per_prompt if is_per_prompt else Residency.RESIDENT
        placements[component.name] = ComponentPlacement(residency=residency, is_quantized=is_quantized)
        if residency is Residency.RESIDENT:
            resident_mb += size_mb
        else:
            ram_mb += size_mb
            moved_mb = max(moved_mb, size_mb if residency is Residency.ON_DEMAND else -(-size_mb // _STREAM_BLOCKS))
    is_requested = model.quantize == EIGHT_BIT
    cost = _RESIDENCY_COSTS[per_prompt] + _TILING_COST * is_tiled
    if not is_requested:
        cost += _QUANTIZED_ENCODER_COST * quantize_per_prompt + _QUANTIZED_CORE_COST * quantize_per_step
    return PlacementPlan(
        model=model.name,
        placements=placements,
        resident_mb=resident_mb,
        step_mb=model.activation_mb + moved_mb,
        decode_mb=_decode_peak_mb(model, is_tiled),
        ram_mb=resident_mb if shares_ram else ram_mb,
        load_mb=model.peak_load_mb,
        is_tiled=is_tiled,
        cost=cost,
    )


def _model_offload_plan(model: ModelRequirements, *, is_tiled: bool) -> PlacementPlan:
    """One component on the device at a time; a decode never overlaps with a step."""
    largest_mb = max((one.size_mb for one in model.components), default=0)
    return PlacementPlan(
        model=model.name,
        placements={one.name: ComponentPlacement(residency=Residency.MODEL_OFFLOAD) for one in model.components},
        step_mb=largest_mb + max(model.activation_mb, _decode_peak_mb(model, is_tiled)),
        ram_mb=model.size_mb,
        load_mb=model.peak_load_mb,
        is_tiled=is_tiled,
        cost=_RESIDENCY_COSTS[Residency.MODEL_OFFLOAD] + _TILING_COST * is_tiled,
    )


def _group_offload_plan(model: ModelRequirements) -> PlacementPlan:
    """Everything but the decoder is streamed in blocks."""
    unstreamed = (ComponentRole.VAE, ComponentRole.CONTROL, ComponentRole.OTHER)
    resident = [one for one in model.components if one.role in unstreamed]
    streamed = [one for one in model.components if one not in resident]
    placements = {
        one.name: ComponentPlacement(residency=Residency.RESIDENT if one in resident else Residency.STREAMED)
        for one in model.components
    }
    block_mb = max((-(-one.size_mb // _STREAM_BLOCKS) for one in streamed), default=0)
    return PlacementPlan(
        model=model.name,
        placements=placements,
        resident_mb=sum(one.size_mb for one in resident),
        step_mb=block_mb + model.activation_mb,
        decode_mb=_decode_peak_mb(model, is_tiled=True),
        ram_mb=sum(one.size_mb for one in streamed),
        load_mb=model.peak_load_mb,
        is_tiled=True,
        cost=_GROUP_OFFLOAD_COST + _TILING_COST,
    )


def _cpu_plans(model: ModelRequirements, cost: float) -> Iterable[PlacementPlan]:
    """One plan for each number format; on the CPU the decoder always works on the whole image."""
    for rank, (number_format, size_mb) in enumerate(model.cpu_formats):
        yield PlacementPlan(
            model=model.name,
            placements={
                one.name: ComponentPlacement(residency=Residency.CPU, is_quantized=number_format == EIGHT_BIT)
                for one in model.components
            },
            ram_mb=size_mb + model.activation_mb + model.vae_decode_mb,
            load_mb=size_mb,
            format=number_format,
            cost=cost + rank,
        )


def _decode_peak_mb(model: ModelRequirements, is_tiled: bool) -> int:
    return -(-model.vae_decode_mb // _TILE_SAVING) if is_tiled else model.vae_decode_mb
