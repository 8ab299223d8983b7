"""Pure: plans where the components of the loaded models reside, to fit the memory with as little moving as possible.

Components are placed, not models. Whatever fits stays on the device; text encoders, which are needed once per prompt,
are offloaded first. All figures are estimates, but more memory never makes a plan worse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from bot.memory.components import Component, ComponentRole, component_role
from bot.memory.residency import (
    GROUP_OFFLOAD_NOTE,
    RESIDENCY_COSTS,
    TILING_NOTE,
    Residency,
    format_notes,
    residency_notes,
)
from bot.memory.weights import FORMATS, FP8, PLAIN, WeightChoice, supports_fp8, weight_choices

SPARE_MB = 600
"""Device memory reserved for the driver and its allocator, MiB."""
RAM_SPARE_MB = 500
"""Free RAM reserved for loading, beside the weights, MiB."""
RELOAD_COST = 8.0
"""The cost of having to reload a model when it is requested, on the scale of `RESIDENCY_COSTS`."""
DISCRETE_MEMORY_KINDS = frozenset({"cuda", "rocm", "xpu"})
"""Kinds of devices with their own memory; the others share the machine's RAM."""
_TILE_SAVING = 4
"""A tiled decode needs 1 / `_TILE_SAVING` of the memory of a whole one."""
_STREAM_BLOCKS = 8
"""A streamed component has 1 / `_STREAM_BLOCKS` of its weights on the device at a time."""


_TILING_COST, _GROUP_OFFLOAD_COST, _GROUP_FP8_COST = 1.0, 20.0, 2.0
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
        quantize: "auto" (smaller formats rather than offloading), "none", "8bit", "4bit" or "fp8".
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
    """The memory available on a device (`device_mb`) and in RAM (`ram_mb`), MiB; 0: unknown, assumed sufficient.

    `can_quantize`: to 8 bits; `can_use_4bit`: to 4 bits.
    """

    kind: str
    device_mb: int = 0
    ram_mb: int = 0
    can_quantize: bool = False
    can_use_4bit: bool = False

    def fits(self, device_mb: int, ram_mb: int) -> bool:
        """Whether this much fits with the reserve. A need of 0 always fits."""
        return _has_headroom(self.device_mb, device_mb, SPARE_MB) and _has_headroom(self.ram_mb, ram_mb, RAM_SPARE_MB)


def _has_headroom(total_mb: int, need_mb: int, spare_mb: int) -> bool:
    return not total_mb or not need_mb or need_mb + spare_mb <= total_mb


@dataclass(frozen=True, kw_only=True)
class ComponentPlacement:
    residency: Residency
    weights: str = ""
    """"8bit", "4bit" or "fp8"; "": its own number format."""

    @property
    def is_quantized(self) -> bool:
        return bool(self.weights)


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
        return any(
            one.residency is Residency.STREAMED and component_role(name) is ComponentRole.DENOISER
            for name, one in self.placements.items()
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """The drawbacks of the plan, as sentences to be translated."""
        notes = [GROUP_OFFLOAD_NOTE] if self.is_group_offloaded else residency_notes(self.residencies)
        notes += format_notes(one.weights for one in self.placements.values())
        return (*notes, *((TILING_NOTE,) if self.is_tiled else ()))


def best_plan(model: ModelRequirements, budget: MemoryBudget) -> PlacementPlan | None:
    """The best plan for the model alone; None: it does not fit."""
    return next((one for one in all_plans(model, budget) if fit_together([one], budget)), None)


def all_plans(model: ModelRequirements, budget: MemoryBudget) -> list[PlacementPlan]:
    """All plans for running the model on such a device, whether they fit or not; the best first."""
    return sorted(_enumerate_plans(model, budget), key=lambda one: (one.cost, one.peak_mb, one.ram_mb))


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


# ---------------------------------------------------------------- all plans of one model


def _enumerate_plans(model: ModelRequirements, budget: MemoryBudget) -> Iterable[PlacementPlan]:
    if budget.kind == "cpu":
        yield from _cpu_plans(model, 0.0)
        return
    shares_ram = budget.kind not in DISCRETE_MEMORY_KINDS
    has_decoder = any(one.role is ComponentRole.VAE for one in model.components)
    tilings = (False, True) if has_decoder else (False,)
    choices = _weight_choices(model, budget)
    for weights, is_tiled in product(choices, tilings):
        for residency in _per_prompt_residencies(model, weights, shares_ram=shares_ram):
            yield _component_plan(model, residency, weights, is_tiled=is_tiled, shares_ram=shares_ram)
    if shares_ram:
        return
    if not has_decoder:
        yield from _cpu_plans(model, RESIDENCY_COSTS[Residency.CPU])
        return
    if PLAIN in choices:
        yield from (_model_offload_plan(model, is_tiled=is_tiled) for is_tiled in tilings)
        yield _group_offload_plan(model, PLAIN)
    yield from (_group_offload_plan(model, one) for one in choices if (one.per_prompt, one.per_step) == ("", FP8))


def _per_prompt_residencies(model: ModelRequirements, weights: WeightChoice, *, shares_ram: bool) -> list[Residency]:
    """Only text encoders are streamed, and only unquantized ones."""
    roles = {one.role for one in model.components}
    if shares_ram or not roles & set(_PER_PROMPT_ROLES):
        return [Residency.RESIDENT]
    can_stream = ComponentRole.TEXT_ENCODER in roles and not weights.per_prompt
    return [Residency.RESIDENT, Residency.ON_DEMAND, *([Residency.STREAMED] if can_stream else [])]


def _weight_choices(model: ModelRequirements, budget: MemoryBudget) -> list[WeightChoice]:
    """Those that make a component smaller, or that the owner asked for."""
    choices = weight_choices(
        model.quantize,
        has_8bit=budget.can_quantize,
        has_4bit=budget.can_use_4bit,
        has_fp8=supports_fp8(budget.kind),
    )
    is_asked_for = model.quantize in FORMATS
    return [one for one in choices if is_asked_for or _has_formats(model, one)]


def _has_formats(model: ModelRequirements, weights: WeightChoice) -> bool:
    """Whether each format of the choice makes a component smaller."""
    needed = {("prompt", weights.per_prompt), ("step", weights.per_step)} - {("prompt", ""), ("step", "")}
    found = set()
    for one in model.components:
        found.add(("prompt" if one.role in _PER_PROMPT_ROLES else "step", _format_of(one, weights)))
    return needed <= found


def _format_of(component: Component, weights: WeightChoice) -> str:
    if component.role in _PER_PROMPT_ROLES:
        return component.format_for(weights.per_prompt)
    return component.format_for(weights.per_step) if component.role in _PER_STEP_ROLES else ""


def _component_plan(
    model: ModelRequirements,
    per_prompt: Residency,
    weights: WeightChoice,
    *,
    is_tiled: bool,
    shares_ram: bool,
) -> PlacementPlan:
    """Components needed at every step stay on the device; `per_prompt` is the residency of those needed per prompt."""
    placements: dict[str, ComponentPlacement] = {}
    resident_mb = moved_mb = ram_mb = 0
    for component in model.components:
        is_per_prompt = component.role in _PER_PROMPT_ROLES
        number_format = _format_of(component, weights)
        size_mb = component.size_in(number_format)
        residency = per_prompt if is_per_prompt else Residency.RESIDENT
        placements[component.name] = ComponentPlacement(residency=residency, weights=number_format)
        if residency is Residency.RESIDENT:
            resident_mb += size_mb
        else:
            ram_mb += size_mb
            moved_mb = max(moved_mb, size_mb if residency is Residency.ON_DEMAND else -(-size_mb // _STREAM_BLOCKS))
    return PlacementPlan(
        model=model.name,
        placements=placements,
        resident_mb=resident_mb,
        step_mb=model.activation_mb + moved_mb,
        decode_mb=_decode_peak_mb(model, is_tiled),
        ram_mb=resident_mb if shares_ram else ram_mb,
        load_mb=model.peak_load_mb,
        is_tiled=is_tiled,
        cost=RESIDENCY_COSTS[per_prompt] + _TILING_COST * is_tiled + weights.cost,
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
        cost=RESIDENCY_COSTS[Residency.MODEL_OFFLOAD] + _TILING_COST * is_tiled,
    )


def _group_offload_plan(model: ModelRequirements, weights: WeightChoice) -> PlacementPlan:
    """Everything but the decoder is streamed in blocks."""
    unstreamed = (ComponentRole.VAE, ComponentRole.CONTROL, ComponentRole.OTHER)
    resident = [one for one in model.components if one.role in unstreamed]
    sizes_mb = {one.name: one.size_in(_format_of(one, weights)) for one in model.components if one not in resident}
    placements = {
        one.name: ComponentPlacement(
            residency=Residency.RESIDENT if one in resident else Residency.STREAMED, weights=_format_of(one, weights)
        )
        for one in model.components
    }
    block_mb = max((-(-size_mb // _STREAM_BLOCKS) for size_mb in sizes_mb.values()), default=0)
    return PlacementPlan(
        model=model.name,
        placements=placements,
        resident_mb=sum(one.size_mb for one in resident),
        step_mb=block_mb + model.activation_mb,
        decode_mb=_decode_peak_mb(model, is_tiled=True),
        ram_mb=sum(sizes_mb.values()),
        load_mb=model.peak_load_mb,
        is_tiled=True,
        cost=_GROUP_OFFLOAD_COST + _TILING_COST + (_GROUP_FP8_COST if weights.per_step else 0.0),
    )


def _cpu_plans(model: ModelRequirements, cost: float) -> Iterable[PlacementPlan]:
    """One plan for each number format; on the CPU the decoder always works on the whole image. A model is loaded before
    its weights get fewer bits."""
    for rank, (number_format, size_mb) in enumerate(model.cpu_formats):
        yield PlacementPlan(
            model=model.name,
            placements={
                one.name: ComponentPlacement(
                    residency=Residency.CPU, weights=number_format if one.has_format(number_format) else ""
                )
                for one in model.components
            },
            ram_mb=size_mb + model.activation_mb + model.vae_decode_mb,
            load_mb=max(size_mb, model.peak_load_mb) if number_format in FORMATS else size_mb,
            format=number_format,
            cost=cost + rank,
        )


def _decode_peak_mb(model: ModelRequirements, is_tiled: bool) -> int:
    return -(-model.vae_decode_mb // _TILE_SAVING) if is_tiled else model.vae_decode_mb
