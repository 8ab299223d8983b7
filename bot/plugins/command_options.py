"""The options of plugins' commands: their declarations are checked, so that each app of people can offer them."""

import keyword
import math
import re
from collections.abc import Mapping
from dataclasses import replace

from bot.options import OptionSpec, clean_text
from bot.plugins.hook_values import PluginCommand, PluginOption

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""Of a command, and of an option."""
_KINDS: Mapping[str, type] = {"text": str, "whole number": int, "number": float, "yes or no": bool}
MAX_TEXT = 2000
MAX_CHOICE = 100
MAX_NUMBER = 2**53
"""Discord's limits of a choice and of bounds; beyond these, JavaScript has no whole numbers."""
LINE = "line"
_TAKEN = re.compile(rf"{LINE}|image\d*|confirm|flags|mask|interaction")
"""Names that options have already in chats and on the command line."""


class BadCommand(ValueError):
    """A plugin's command cannot be used. The text says why, as a sentence."""


def check_option(command: PluginCommand, option: object) -> OptionSpec:
    """Raises: BadCommand."""
    if not isinstance(option, PluginOption) or not NAME.fullmatch(str(option.name)) or option.kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        raise BadCommand(f"Each option of {command.name} is a PluginOption with a name of a to z and a kind: {kinds}.")
    named = f"{option.name} of the command {command.name}"
    if _TAKEN.fullmatch(option.name) or keyword.iskeyword(option.name):
        raise BadCommand(f"The command {command.name} cannot have another option called {option.name}.")
    _check_choices(option, named)
    _check_bounds(option, named)
    return _with_default(_to_spec(option), option, named)


def _check_choices(option: PluginOption, named: str) -> None:
    choices = option.choices
    if not isinstance(choices, list | tuple) or (choices and option.kind != "text"):
        raise BadCommand(f"The choices of {named} must be a list or tuple of words, and only a text has some.")
    if any(one != clean_text(str(one)).casefold() or not 0 < len(one) <= MAX_CHOICE for one in choices):
        raise BadCommand(
            f"The choices of {named} must be words in small letters, each of at most {MAX_CHOICE} characters."
        )
    if len(set(choices)) < len(choices):
        raise BadCommand(f"Two choices of {named} are alike.")


def _check_bounds(option: PluginOption, named: str) -> None:
    given = [bound for bound in (option.minimum, option.maximum) if bound is not None]
    if option.kind == "text":
        is_right = option.minimum is None and all(_is_whole(bound) and bound >= 1 for bound in given)
        if not is_right:
            raise BadCommand(f"The maximum of {named} is a whole number of characters from 1, and it has no minimum.")
        return
    if option.kind == "yes or no" and given:
        raise BadCommand(f"{named} has no minimum or maximum: its values are yes and no.")
    is_bound = _is_whole if option.kind == "whole number" else _is_number
    if not all(map(is_bound, given)) or given != sorted(given):
        raise BadCommand(
            f"The minimum and maximum of {named} must be {option.kind}s of at most 2**53, the smaller one first."
        )


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and abs(value) <= MAX_NUMBER  # type: ignore[arg-type]


def _is_whole(value: object) -> bool:
    return _is_number(value) and value == int(value)  # type: ignore[call-overload]


def _to_spec(option: PluginOption) -> OptionSpec:
    is_text = option.kind == "text"
    return OptionSpec(
        name=option.name,
        kind=_KINDS[option.kind],
        help=clean_text(str(option.help or "")) or option.name,
        minimum=option.minimum,
        maximum=MAX_TEXT if is_text and option.maximum is None else option.maximum,
        choices=tuple(option.choices),
        is_required=bool(option.is_required),
        is_main=bool(option.is_main),
    )


def _with_default(spec: OptionSpec, option: PluginOption, named: str) -> OptionSpec:
    if option.default is None:
        return spec
    try:
        return replace(spec, default=spec.parse(option.default, option.name))
    except Exception as error:  # whatever it is
        raise BadCommand(f"The default of {named} is not one of its values.") from error
