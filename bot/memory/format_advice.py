"""What other number formats would make of a model on this machine, in sentences with numbers. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from bot.memory import placement
from bot.memory.components import Component, ComponentRole
from bot.memory.fit import MachineSpec, format_gib, model_requirements
from bot.memory.placement import MemoryBudget, ModelRequirements, PlacementPlan
from bot.models import ModelSpec

GGUF_SHARE = 0.29
"""Size of a denoiser in GGUF's Q4_K, of that in half precision."""
_MIN_GAIN = 2.0
"""Of a plan's cost: less is not worth another file or library."""


def format_memory(spec: ModelSpec, machine: MachineSpec) -> list[str]:
    """What the model needs on the device, and what another format would need; empty without an accelerator."""
    memory = describe_memory(spec, machine)
    return [*([f"Memory: {memory}."] if memory else []), *advise_formats(spec, machine)]


def describe_memory(spec: ModelSpec, machine: MachineSpec) -> str:
    """ "8bit, 6.1 GiB of 8.0 GiB", for a model that runs on an accelerator; otherwise empty."""
    if machine.accelerator is None:
        return ""
    plan = placement.best_plan(model_requirements(spec, has_accelerator=True), machine.memory_budget)
    return "" if plan is None or not plan.peak_mb else _describe(plan, machine)


def advise_formats(spec: ModelSpec, machine: MachineSpec) -> Iterator[str]:
    """How a library that is not installed, or a `.gguf` file, would let the model run with less moving of weights."""
    if machine.accelerator is None or spec.is_gguf or spec.quantize != "auto":
        return
    needs, budget = model_requirements(spec, has_accelerator=True), machine.memory_budget
    current = placement.best_plan(needs, budget)
    for extra, better_budget in (("quant", _with_8bit(budget)), ("bnb", _with_4bit(budget))):
        if better_budget != budget and (plan := _better(needs, better_budget, current)) is not None:
            yield f"With the extra `{extra}`, {spec.name} would run in {_describe(plan, machine)}."
            return
    if any(one.name.startswith("transformer") for one in needs.components):
        plan = _better(_as_gguf(needs), budget, current)
        if plan is not None:
            yield f"As a .gguf file in Q4_K, {spec.name} would need {_memory(plan, machine)}."


def _with_8bit(budget: MemoryBudget) -> MemoryBudget:
    return replace(budget, can_quantize=True)


def _with_4bit(budget: MemoryBudget) -> MemoryBudget:
    return replace(budget, can_use_4bit=True)


def _better(needs: ModelRequirements, budget: MemoryBudget, current: PlacementPlan | None) -> PlacementPlan | None:
    plan = placement.best_plan(needs, budget)
    is_better = plan is not None and plan.peak_mb and (current is None or plan.cost <= current.cost - _MIN_GAIN)
    return plan if is_better else None


def _as_gguf(needs: ModelRequirements) -> ModelRequirements:
    return replace(needs, components=tuple(map(_quantized_denoiser, needs.components)))


def _quantized_denoiser(component: Component) -> Component:
    if component.role is not ComponentRole.DENOISER:
        return component
    return Component(name=component.name, role=component.role, size_mb=int(component.size_mb * GGUF_SHARE))


def _describe(plan: PlacementPlan, machine: MachineSpec) -> str:
    formats = sorted({one.weights for one in plan.placements.values() if one.weights})
    return f"{' and '.join(formats)}, {_memory(plan, machine)}" if formats else _memory(plan, machine)


def _memory(plan: PlacementPlan, machine: MachineSpec) -> str:
    device_mb = machine.memory_budget.device_mb
    total = f" of {format_gib(device_mb)}" if device_mb else ""
    return f"{format_gib(plan.peak_mb)}{total}"
