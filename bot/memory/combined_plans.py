"""Pure: the plans of several models that are loaded together."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.memory.placement import (
    RELOAD_COST,
    MemoryBudget,
    ModelRequirements,
    PlacementPlan,
    all_plans,
    fit_together,
)

_ROUNDING = 1e-9
"""Costs that differ by less are the same sum in another order."""


@dataclass(frozen=True, kw_only=True)
class PlacementSet:
    """Plans of the models that are loaded together, and the names of those that are loaded on request."""

    plans: tuple[PlacementPlan, ...]
    unloaded: tuple[str, ...] = ()


def plan_together(models: Sequence[ModelRequirements], budget: MemoryBudget) -> PlacementSet:
    """The best plans for several models, given in order of most recent use: the least recently used is unloaded first.

    A slightly slower plan is preferred to reloading a model for each request, and reloading to offloading components
    for each image.
    """
    choices: list[list[PlacementPlan | None]] = [
        [*_non_dominated(all_plans(one, budget), budget), None] for one in models
    ]
    minimum_costs = [choice[0].cost if choice[0] is not None else 0.0 for choice in choices]
    best = _cheapest_combination(choices, minimum_costs, budget)
    plans = tuple(one for one in best if one is not None)
    unloaded = tuple(model.name for model, one in zip(models, best, strict=True) if one is None)
    return PlacementSet(plans=plans, unloaded=unloaded)


def _cheapest_combination(
    choices: Sequence[Sequence[PlacementPlan | None]], minimum_costs: Sequence[float], budget: MemoryBudget
) -> tuple[PlacementPlan | None, ...]:
    """One choice for each model: the cheapest combination that fits, the first of several.

    Branch and bound: a beginning that does not fit, or that cannot become cheaper than the best so far, is not
    continued. The memory of a combination grows with each model, and so does its cost.
    """
    count = len(choices)
    costs = [
        [_choice_cost(one, least, (count - index) / 100) for one in choice]
        for index, (choice, least) in enumerate(zip(choices, minimum_costs, strict=True))
    ]
    least_after = [sum(min(one) for one in costs[index:]) for index in range(count + 1)]
    best: tuple[PlacementPlan | None, ...] = (None,) * count
    best_cost = _total_cost(best, minimum_costs)

    def extend(beginning: tuple[PlacementPlan | None, ...], cost: float) -> None:
        nonlocal best, best_cost
        index = len(beginning)
        if index == count:
            if (total := _total_cost(beginning, minimum_costs)) < best_cost:
                best, best_cost = beginning, total
            return
        for one, own_cost in zip(choices[index], costs[index], strict=True):
            is_promising = cost + own_cost + least_after[index + 1] <= best_cost[0] + _ROUNDING
            longer = (*beginning, one)
            if is_promising and fit_together((each for each in longer if each is not None), budget):
                extend(longer, cost + own_cost)

    extend((), 0.0)
    return best


def _choice_cost(one: PlacementPlan | None, minimum_cost: float, recency_cost: float) -> float:
    return minimum_cost + RELOAD_COST + recency_cost if one is None else one.cost


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
