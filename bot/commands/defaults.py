"""Defaults for options that were not given: a person's own, or those of an earlier job.

Unlike a given option, a default that the model does not support is dropped, never refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands import Command
from bot.commands.best_of import find_judge
from bot.commands.prompt_enhancing import enhancing_model
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import ModelRegistry, ModelSpec

SIZES = ("size", "aspect", "width", "height")
MODEL_LACKS = frozenset({"model_lacks", "one_at_a_time", "one_at_a_time_but"})
"""Problems of the model that was chosen, not of the option that they name."""


def apply_defaults(
    command: Command, defaults: Mapping[str, Any], models: ModelRegistry, aspect: float | None = None
) -> Command:
    """The command with every default that it and its model support, and that fits the given options.

    Given options that are invalid are left for the caller to report.
    """
    known = {spec.name for spec in command.specs}
    applicable = {name: value for name, value in defaults.items() if name in known and command.values.get(name) is None}
    if any(command.values.get(name) for name in SIZES):
        applicable = {name: value for name, value in applicable.items() if name not in SIZES}
    while True:
        candidate = replace(command, values={**applicable, **command.values})
        try:
            model = candidate.choose_model(models)
            candidate.fill_options(model, 0, aspect)
        except InvalidOption as error:
            refused = next((spec.name for spec in command.specs if error.option in (spec.name, *spec.aliases)), "")
            if refused not in applicable and error.problem in MODEL_LACKS and "model" in applicable:
                refused = "model"  # a given option counts more than a default model that lacks it
            if refused not in applicable:
                return candidate
            gone = SIZES if refused in SIZES else (refused,)  # a width without its height is useless
            applicable = {name: value for name, value in applicable.items() if name not in gone}
        else:
            unaided = _need_a_missing_model(applicable, candidate, model, models)
            if not unaided:
                return candidate
            applicable = {name: value for name, value in applicable.items() if name not in unaided}


def _need_a_missing_model(
    defaults: Mapping[str, Any], command: Command, model: ModelSpec, models: ModelRegistry
) -> set[str]:
    """Defaults that another model than the job's is needed for, which is not installed any more."""
    unaided: set[str] = set()
    if defaults.get("enhance") and enhancing_model(models) is None:
        unaided.add("enhance")
    if defaults.get("best") and find_judge(models, model, command.images) is None:
        unaided |= {"best", "count"}  # that many were only made to be compared
    return unaided


def repeat_options(
    kind: type[Command],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    images: Sequence[ImageRef],
    models: ModelRegistry,
) -> Mapping[str, Any]:
    """Options for repeating an earlier job: the given ones, then that job's as defaults."""
    return apply_defaults(kind.from_options(given, images, is_album=True), defaults, models).values
