"""Which models stay loaded together on a machine, in which formats and where, in sentences with numbers. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.i18n import N_, Translate
from bot.memory import placement
from bot.memory.combined_plans import plan_together
from bot.memory.fit import MachineSpec, format_gib, model_requirements
from bot.memory.placement import PlacementPlan
from bot.memory.residency import Residency
from bot.models import ModelSpec

TOGETHER = N_("These models stay loaded together on {device}: {models}.")
ALONE = N_("This model stays loaded on {device}: {models}.")
TOTAL = N_("That takes up to {need} of {total}.")
ON_REQUEST = N_("Loaded on request, in place of another: {models}.")
MOST_PLANNED = 5
"""More models are not planned together: the number of combinations grows with each."""
_WHERE = {
    Residency.MODEL_OFFLOAD: N_("offloaded"),
    Residency.STREAMED: N_("partly streamed"),
    Residency.ON_DEMAND: N_("text encoder on demand"),
}
"""The slowest residency of a model's components; most are on the device, which needs no words."""


@dataclass(frozen=True, kw_only=True)
class LoadedTogether:
    """`unloaded`: names of models that are loaded on request. `total_mb`: of the device, or of RAM; 0: unknown."""

    device: str
    plans: tuple[PlacementPlan, ...]
    unloaded: tuple[str, ...]
    total_mb: int = 0


def find_loaded_together(models: Sequence[ModelSpec], machine: MachineSpec) -> LoadedTogether | None:
    """For models in order of importance; those that do not fit alone are left out. None: fewer than two are left."""
    budget, device = machine.memory_budget, machine.accelerator
    needs = [model_requirements(spec, has_accelerator=device is not None) for spec in models]
    needs = [one for one in needs if one.peak_load_mb and placement.best_plan(one, budget) is not None]
    most = min(machine.max_loaded_models, MOST_PLANNED)
    if len(needs) < 2:
        return None
    found = plan_together(needs[:most], budget)
    return LoadedTogether(
        device="cpu" if device is None else device[0],
        plans=found.plans,
        unloaded=(*found.unloaded, *(one.name for one in needs[most:])),
        total_mb=machine.ram_mb if device is None else device[2],
    )


def order_models(models: Iterable[ModelSpec], first: ModelSpec | None = None) -> list[ModelSpec]:
    """`first`, then defaults, then real models before demos: as they are probably used."""
    others = [spec for spec in models if first is None or spec.name != first.name]
    ordered = sorted(others, key=lambda spec: (not spec.default_for, spec.demo))
    return ordered if first is None else [first, *ordered]


def describe_loaded_together(found: LoadedTogether, translate: Translate = str) -> list[str]:
    lines = []
    if found.plans:
        models = "; ".join(_describe_plan(plan, found.device, translate) for plan in found.plans)
        sentence = translate(TOGETHER) if len(found.plans) > 1 else translate(ALONE)
        lines.append(sentence.format(device=found.device, models=models))
        need_mb = _needed_mb(found)
        if need_mb and found.total_mb:
            lines[-1] += " " + translate(TOTAL).format(need=format_gib(need_mb), total=format_gib(found.total_mb))
    if found.unloaded:
        lines.append(translate(ON_REQUEST).format(models=", ".join(found.unloaded)))
    return lines


def _describe_plan(plan: PlacementPlan, device: str, translate: Translate) -> str:
    """ "sdxl (8bit, text encoder on demand, 6.1 GiB)"."""
    formats = sorted({one.weights for one in plan.placements.values()} | {plan.format})
    where = next((translate(words) for residency, words in _WHERE.items() if residency in plan.residencies), "")
    size_mb = plan.peak_mb
    if Residency.CPU in plan.residencies:
        where, size_mb = "" if device == "cpu" else translate("on the CPU"), plan.ram_mb
    return f"{plan.model} ({', '.join(filter(None, (*formats, where, format_gib(size_mb))))})"


def _needed_mb(found: LoadedTogether) -> int:
    """At its peak, as the planner counts: steps and decodes of different models do not overlap."""
    on_device = [plan for plan in found.plans if Residency.CPU not in plan.residencies]
    if found.device == "cpu":
        return sum(plan.ram_mb for plan in found.plans)
    step_mb = max((plan.step_mb for plan in on_device), default=0)
    return (
        sum(plan.resident_mb for plan in on_device) + step_mb + max((plan.decode_mb for plan in on_device), default=0)
    )
