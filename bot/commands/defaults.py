"""Wishes that fill in what was not said: a person's own defaults, or the options of an earlier job.

Unlike what is said outright, a wish that the model does not take is left out, never refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands import Command
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import ModelRegistry

SIZES = ("size", "aspect", "width", "height")


def apply_defaults(
    command: Command, wishes: Mapping[str, Any], models: ModelRegistry, aspect: float | None = None
) -> Command:
    """The command with as many of the wishes as fit it, its model and one another.

    A refusal of what was given stays to be raised by whoever goes on with the command.
    """
    known = {spec.name for spec in command.specs}
    wished = {name: value for name, value in wishes.items() if name in known and command.values.get(name) is None}
    if any(command.values.get(name) for name in SIZES):
        wished = {name: value for name, value in wished.items() if name not in SIZES}
    while True:
        candidate = replace(command, values={**wished, **command.values})
        try:
            candidate.fill_options(candidate.choose_model(models), 0, aspect)
        except InvalidOption as error:
            refused = next((spec.name for spec in command.specs if error.option in (spec.name, *spec.aliases)), "")
            if refused not in wished:
                return candidate
            gone = SIZES if refused in SIZES else (refused,)  # half a size is none
            wished = {name: value for name, value in wished.items() if name not in gone}
        else:
            return candidate


def repeat_options(
    kind: type[Command],
    given: Mapping[str, Any],
    wishes: Mapping[str, Any],
    images: Sequence[ImageRef],
    models: ModelRegistry,
) -> Mapping[str, Any]:
    """Options for a command that says what is given and wishes for what an earlier job had."""
    return apply_defaults(kind.from_options(given, images, is_album=True), wishes, models).values
