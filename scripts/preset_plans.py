"""How the memory planner places each preset for images on cards of several sizes, as a table in docs/models.md.

`python -m scripts.preset_plans` writes it; a test compares it with the planner.
"""

from collections.abc import Iterable
from pathlib import Path

from bot.memory.components import ComponentRole, component_role
from bot.memory.fit import MachineSpec, model_requirements
from bot.memory.placement import PlacementPlan, Residency, best_plan
from bot.models import IMAGE_TASKS, ModelSpec
from composition.settings import shipped_models

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
START, END = "<!-- preset plans: python -m scripts.preset_plans -->\n", "<!-- end of preset plans -->\n"
CARDS_GIB, RAM_GIB = (8, 12, 16, 24), 64
_RESIDENCIES = {
    Residency.ON_DEMAND: "encoder on demand",
    Residency.STREAMED: "encoder streamed",
    Residency.MODEL_OFFLOAD: "model offload",
}


def plan_table(presets: Iterable[ModelSpec]) -> str:
    """Markdown."""
    head = f"| preset | {' | '.join(f'{size} GiB' for size in CARDS_GIB)} |\n|{'---|' * (len(CARDS_GIB) + 1)}\n"
    rows = (f"| `{spec.name}` | {' | '.join(_cell(spec, size) for size in CARDS_GIB)} |\n" for spec in presets)
    return head + "".join(rows)


def image_presets() -> list[ModelSpec]:
    return [spec for spec in shipped_models().values() if not spec.enabled and IMAGE_TASKS & set(spec.tasks)]


def write_table(page: Path = PAGE) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}{plan_table(image_presets())}{END}{after}", encoding="utf-8")


def _cell(spec: ModelSpec, card_gib: int) -> str:
    """Without torchao and bitsandbytes, and with them where that is different."""
    plain, quantized = (_label(spec, card_gib, has_formats=one) for one in (False, True))
    return plain if plain == quantized else f"{plain}; *{quantized}*"


def _label(spec: ModelSpec, card_gib: int, *, has_formats: bool) -> str:
    machine = MachineSpec(
        devices=(("cuda:0", "cuda", card_gib * 1024),),
        ram_mb=RAM_GIB * 1024,
        free_ram_mb=RAM_GIB * 1024,
        disk_free_mb=0,
        can_quantize=has_formats,
        can_use_4bit=has_formats,
    )
    plan = best_plan(model_requirements(spec, has_accelerator=True), machine.memory_budget)
    return "no" if plan is None else describe_plan(plan)


def describe_plan(plan: PlacementPlan) -> str:
    if plan.is_group_offloaded:
        return "group offload"
    words = _describe_formats(plan)
    words += [words_of for residency, words_of in _RESIDENCIES.items() if residency in plan.residencies]
    words += ["tiles"] if plan.is_tiled else []
    return ", ".join(words) or "whole"


def _describe_formats(plan: PlacementPlan) -> list[str]:
    """Formats of weights that are not in the model's own."""
    by_role = {component_role(name): one.weights for name, one in plan.placements.items()}
    denoiser, encoder = by_role.get(ComponentRole.DENOISER, ""), by_role.get(ComponentRole.TEXT_ENCODER, "")
    if denoiser == encoder:
        return [denoiser] if denoiser else []
    return [f"{name} {weights}" for name, weights in (("denoiser", denoiser), ("encoder", encoder)) if weights]


if __name__ == "__main__":
    write_table()
