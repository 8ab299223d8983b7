"""Pure: estimates whether and how fast a model runs on this machine, and recommends presets."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.memory import placement
from bot.memory.compiled import with_compiled_denoiser
from bot.memory.components import Component, ComponentRole, component_role
from bot.memory.placement import SPARE_MB, MemoryBudget, ModelRequirements, PlacementPlan, Residency
from bot.memory.residency import BFLOAT16_NOTE
from bot.memory.weights import EIGHT_BIT, FORMATS, FOUR_BIT, FP8
from bot.models import (
    IMAGE_TASKS,
    IMAGE_TEXT_TO_TEXT,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    TORCH,
    VISUAL_QUESTION_ANSWERING,
    ModelSpec,
)

RAM_SPARE_MB = 2000
"""RAM reserved for the system and other processes, MiB."""
SLOWDOWN = {Residency.MODEL_OFFLOAD: 1.6, Residency.STREAMED: 1.1, Residency.ON_DEMAND: 1.1}
"""Estimated slowdown per image from offloading."""
GROUP_OFFLOAD_SLOWDOWN = 4.0
"""The same when all weights are streamed through the device at every step."""
ANSWER_TOKENS = 10
"""Tokens of a typical answer."""
SHARED_MEMORY_KINDS = ("mps", "cpu")
"""Kinds of devices that use the machine's RAM."""
_ENCODERS = (ComponentRole.TEXT_ENCODER, ComponentRole.LANGUAGE_MODEL)
FORMAT_SHARES = {
    EIGHT_BIT: dict.fromkeys((ComponentRole.DENOISER, *_ENCODERS), 0.6),
    FOUR_BIT: dict.fromkeys(_ENCODERS, 0.35),
    FP8: {ComponentRole.DENOISER: 0.52},
}
"""Estimated size of a component in each format; its embeddings, and in integers its convolutions, stay as they are."""


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """A machine. `devices`: (name, kind, MiB) of each device that torch finds; 0 MiB: unknown. `can_quantize`: torchao
    is installed; `can_use_4bit`: bitsandbytes is. `max_loaded_models`: how many a device keeps loaded."""

    devices: tuple[tuple[str, str, int], ...]
    ram_mb: int
    free_ram_mb: int
    disk_free_mb: int
    can_quantize: bool = False
    can_use_4bit: bool = False
    max_loaded_models: int = 4

    @property
    def accelerator(self) -> tuple[str, str, int] | None:
        """The one with the most memory; None on a machine without any."""
        accelerators = [device for device in self.devices if device[1] != "cpu"]
        return max(accelerators, key=lambda device: device[2], default=None)

    @property
    def kind(self) -> str:
        """Of the device that models run on; empty: torch was not asked."""
        return (self.accelerator or ("", "cpu", 0))[1] if self.devices else ""

    @property
    def memory_budget(self) -> MemoryBudget:
        """The memory available to the planner."""
        _, kind, device_mb = self.accelerator or ("cpu", "cpu", 0)
        ram_mb = max(1, self.ram_mb - RAM_SPARE_MB + placement.RAM_SPARE_MB) if self.ram_mb else 0
        return MemoryBudget(
            kind=kind,
            device_mb=device_mb,
            ram_mb=ram_mb,
            can_quantize=self.can_quantize,
            can_use_4bit=self.can_use_4bit,
        )


@dataclass(frozen=True, kw_only=True)
class FitEstimate:
    """How a model would run.

    Attributes:
        place: "resident", "offload" (components are moved to the device and back), "cpu" or "no".
        seconds: expected time for one image or answer of the default size; 0: unknown.
        notes: the drawbacks of its placement, as sentences.
        is_group_offloaded: most of its weights are moved at every step.
        formats: of weights that are not in the model's own number format.
        missing: the memory that is missing, as text; empty unless `place` is "no".
        missing_mb: the amount of missing memory, MiB.
        disk_mb: disk space missing for the download, MiB; 0: none.
    """

    place: str
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    is_group_offloaded: bool = False
    formats: frozenset[str] = frozenset()
    missing: str = ""
    missing_mb: int = 0
    disk_mb: int = 0


def estimate_fit(spec: ModelSpec, machine: MachineSpec) -> FitEstimate:
    """Uses the loader's planner, without the model's files; unknown figures are assumed to fit."""
    disk_mb = max(0, spec.download_mb - machine.disk_free_mb)
    wanted = model_requirements(spec, has_accelerator=machine.accelerator is not None)
    plan = placement.best_plan(wanted, machine.memory_budget)
    if plan is None:
        missing, missing_mb = _missing_memory(wanted, machine)
        return FitEstimate(place="no", missing=missing, missing_mb=missing_mb, disk_mb=disk_mb)
    return FitEstimate(
        place=_placement_name(plan),
        seconds=_seconds(spec, plan),
        notes=plan.notes if machine.accelerator else _cpu_notes(plan),
        is_group_offloaded=plan.is_group_offloaded,
        formats=frozenset(one.weights for one in plan.placements.values() if one.weights),
        disk_mb=disk_mb,
    )


def _cpu_notes(plan: PlacementPlan) -> tuple[str, ...]:
    return (BFLOAT16_NOTE,) if plan.format == "bfloat16" else ()


def model_requirements(spec: ModelSpec, *, has_accelerator: bool) -> ModelRequirements:
    """The model's requirements, as far as they are known without its files."""
    is_image_model = bool(IMAGE_TASKS & set(spec.tasks))
    components = tuple(_component(name, size_mb) for name, size_mb in spec.components_mb.items())
    components = components or _guessed_components(spec, is_image_model)
    size_mb = sum(one.size_mb for one in components)
    need_mb = spec.ram_mb or spec.memory_mb
    is_known = bool(spec.components_mb)
    half_name = "bfloat16" if is_known or spec.dtype != "auto" else ""  # else the loader decides by the files
    half = (half_name, max(0, need_mb - spec.activation_mb - spec.vae_decode_mb))
    is_open = spec.dtype == "auto" and (has_accelerator or spec.capabilities.get("dtype") != "bfloat16")
    is_full = is_open or spec.backend != TORCH  # beside a build, the pipeline is in float32
    full = (("float32", 2 * size_mb),) if is_known and is_full else ()
    formats: tuple[tuple[str, int], ...] = (*full, half)
    load_mb = need_mb
    if spec.quantize in FORMATS:
        load_mb = max(load_mb, size_mb if has_accelerator or spec.dtype != "auto" else 2 * size_mb)
        sizes_mb = (one.size_in(spec.quantize) * (1 if one.format_for(spec.quantize) else 2) for one in components)
        formats = ((spec.quantize, sum(sizes_mb)),)
    if spec.backend != TORCH:
        denoiser_mb = sum(one.size_mb for one in components if one.role is ComponentRole.DENOISER)
        formats = with_compiled_denoiser(
            (name, need_mb, 2 * denoiser_mb if name == "float32" else denoiser_mb) for name, need_mb in formats
        )
    return ModelRequirements(
        name=spec.name,
        components=components,
        activation_mb=spec.activation_mb,
        vae_decode_mb=spec.vae_decode_mb,
        quantize=spec.quantize,
        load_ram_mb=load_mb,
        cpu_formats=() if has_accelerator and is_image_model else formats,
    )


def _component(name: str, size_mb: int) -> Component:
    role = component_role(name)
    eight_bit, four_bit, fp8 = (int(size_mb * FORMAT_SHARES[one].get(role, 0)) for one in (EIGHT_BIT, FOUR_BIT, FP8))
    return Component(name=name, role=role, size_mb=size_mb, quantized_mb=eight_bit, four_bit_mb=four_bit, fp8_mb=fp8)


def _guessed_components(spec: ModelSpec, is_image_model: bool) -> tuple[Component, ...]:
    """Components of a model without `components_mb`: as many as `offload_mb` implies, else a single one."""
    weights_mb = max(0, spec.memory_mb - spec.activation_mb - spec.vae_decode_mb)
    largest_mb = spec.offload_mb
    if not (is_image_model and 0 < largest_mb < weights_mb):
        role = ComponentRole.DENOISER if is_image_model else ComponentRole.LANGUAGE_MODEL
        return (Component(name="model", role=role, size_mb=weights_mb),)
    encoders = -(-(weights_mb - largest_mb) // largest_mb)
    rest = tuple(
        Component(
            name=f"text_encoder_{number}",
            role=ComponentRole.TEXT_ENCODER,
            size_mb=(weights_mb - largest_mb) // encoders,
        )
        for number in range(encoders)
    )
    vae = Component(name="vae", role=ComponentRole.VAE, size_mb=0)
    return (Component(name="denoiser", role=ComponentRole.DENOISER, size_mb=largest_mb), *rest, vae)


def _placement_name(plan: PlacementPlan) -> str:
    if Residency.CPU in plan.residencies:
        return "cpu"
    return "resident" if plan.is_fully_resident else "offload"


def _seconds(spec: ModelSpec, plan: PlacementPlan) -> float:
    if IMAGE_TASKS & set(spec.tasks):
        steps = spec.steps
    else:
        writes_text = bool({IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING} & set(spec.tasks))
        steps = min(ANSWER_TOKENS, spec.max_new_tokens) if writes_text else 1
    step_s = (spec.cpu_step_s or spec.step_s) if Residency.CPU in plan.residencies else spec.step_s
    slowdown = (
        GROUP_OFFLOAD_SLOWDOWN
        if plan.is_group_offloaded
        else max(SLOWDOWN.get(residency, 1.0) for residency in plan.residencies)
    )
    return round(spec.overhead_s + steps * step_s * slowdown, 1)


def _missing_memory(model: ModelRequirements, machine: MachineSpec) -> tuple[str, int]:
    """The smallest unmet requirement as text, and the missing amount, MiB: of RAM, else of the device."""
    budget, device = machine.memory_budget, machine.accelerator
    least_mb = min(max(one.load_mb, one.ram_mb) for one in placement.all_plans(model, budget))
    if device is None or not budget.fits(0, least_mb):
        need_mb = least_mb + RAM_SPARE_MB
        return (
            f"{format_gib(need_mb)} of memory, this machine has {format_gib(machine.ram_mb)}",
            need_mb - machine.ram_mb,
        )
    peak_mb = min(one.peak_mb for one in placement.all_plans(model, budget) if Residency.CPU not in one.residencies)
    need_mb = peak_mb + SPARE_MB
    return f"{format_gib(need_mb)} on the device, {device[0]} has {format_gib(device[2])}", need_mb - device[2]


def format_gib(mb: int) -> str:
    """MiB as text in GiB."""
    return f"{mb / 1024:.1f} GiB"


def recommend_presets(presets: Iterable[ModelSpec], machine: MachineSpec) -> dict[str, str | None]:
    """The recommended presets, `{"image": name, "vision": name}`; None: only the starter model is suitable.

    The first in the order of the config that fits, for images one that takes at most a minute each; models that may be
    used commercially first. A model that does not fit on the disk, or only in 8-bit floats, is not recommended; for
    questions, one that chats is if it fits into an accelerator as a whole.
    """
    estimates = [(spec, estimate_fit(spec, machine)) for spec in presets]
    fitting = [
        (spec, fit)
        for spec, fit in estimates
        if fit.place != "no" and not (fit.disk_mb or fit.is_group_offloaded or FP8 in fit.formats)
    ]
    image = [(spec, fit) for spec, fit in fitting if TEXT_TO_IMAGE in spec.tasks and fit.seconds <= 60]
    vision = [(spec, fit) for spec, fit in fitting if {IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING} <= set(spec.tasks)]
    chatting = [(spec, fit) for spec, fit in vision if IMAGE_TEXT_TO_TEXT in spec.tasks]
    quick = [(spec, fit) for spec, fit in chatting if machine.accelerator is not None and fit.place == "resident"]
    others = [one for one in vision if one not in chatting]
    return {"image": _first_of(image), "vision": _first_of(quick) or _first_of(others)}


def _first_of(fitting: Iterable[tuple[ModelSpec, FitEstimate]]) -> str | None:
    ranked = sorted((spec for spec, _ in fitting), key=lambda spec: not spec.commercial)
    return ranked[0].name if ranked else None
