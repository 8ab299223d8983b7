"""Plans of several models together: the cheapest of all combinations, found without looking at all."""

from itertools import product

import pytest

from bot.memory import combined_plans
from bot.memory.combined_plans import plan_together
from bot.memory.fit import model_requirements
from bot.memory.placement import MemoryBudget, all_plans, fit_together
from composition.settings import shipped_models

PRESETS = ["sd15-lcm", "sdxl", "z-image-turbo", "flux2-klein-4b", "blip2-opt-2-7b"]


@pytest.fixture
def models():
    return [model_requirements(shipped_models()[name], has_accelerator=True) for name in PRESETS]


def card(gib):
    return MemoryBudget(kind="cuda", device_mb=gib * 1024, ram_mb=65536, can_quantize=True, can_use_4bit=True)


@pytest.mark.parametrize("gib", [6, 8, 12, 16, 24])
@pytest.mark.parametrize("first", [0, 2, 3])
def test_the_cheapest_combination_is_found(models, first, gib):
    pair, room = models[first : first + 2], card(gib)
    choices = [[*combined_plans._non_dominated(all_plans(one, room), room), None] for one in pair]
    least = [choice[0].cost if choice[0] is not None else 0.0 for choice in choices]
    fitting = [found for found in product(*choices) if fit_together([one for one in found if one], room)]
    cheapest = min(fitting, key=lambda found: combined_plans._total_cost(found, least))

    assert plan_together(pair, room).plans == tuple(one for one in cheapest if one)


def test_five_models_with_every_format_are_planned_in_few_steps(models, monkeypatch):
    steps = 0

    def count(plans, budget):
        nonlocal steps
        steps += 1
        return fit_together(plans, budget)

    monkeypatch.setattr(combined_plans, "fit_together", count)
    for gib in (6, 8, 12, 16, 24):
        plan_together(models, card(gib))

    assert steps < 100_000  # of 60 million combinations
