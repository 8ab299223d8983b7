"""The commands of plugins: their declarations are checked once, and their options read as those of other commands."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.options import OptionSpec, clean_excerpt, clean_text, parse_options, parse_text
from bot.plugins.hook_values import PluginCommand, PluginOption

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_KINDS: Mapping[str, type] = {"text": str, "whole number": int, "number": float, "yes or no": bool}
MAX_SUMMARY = 100
MAX_OPTIONS = 20
MAX_COMMANDS = 50
MAX_IMAGES = 4
MAX_TEXT = 2000
LINE = "line"
OTHER_OPTIONS = frozenset({LINE, "image", "confirm", "flags", "mask"})
"""Names that options have already in chats and on the command line."""


class BadCommand(ValueError):
    """A plugin's command cannot be used. The text says why, as a sentence."""


@dataclass(frozen=True)
class OwnCommand:
    """A command with the name of the plugin that it belongs to."""

    plugin: str
    declared: PluginCommand
    specs: tuple[OptionSpec, ...]

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def summary(self) -> str:
        return clean_excerpt(self.declared.summary, MAX_SUMMARY)

    @property
    def makes_job(self) -> bool:
        return self.declared.answers == "job"

    def read(self, options: Mapping[str, Any], line: str | None) -> dict[str, Any]:
        """The values, with defaults; the only option `line` is a typed line. Raises: InvalidOption."""
        if line is None and set(options) == {LINE} and isinstance(options[LINE], str):
            options, line = {}, options[LINE]
        given = parse_options(self.specs, options) if line is None else parse_text(self.specs, line)
        defaults = {spec.name: spec.default for spec in self.specs if spec.default is not None}
        return {**defaults, **given}


def check_commands(plugin: str, declared: object, taken: Collection[str]) -> tuple[OwnCommand, ...]:
    """`taken`: names of other commands. Raises: BadCommand."""
    commands: dict[str, OwnCommand] = {}
    if not isinstance(declared, list | tuple):
        raise BadCommand("easel_commands must return a list of PluginCommand.")
    if len(declared) > MAX_COMMANDS:
        raise BadCommand(f"A plugin has at most {MAX_COMMANDS} commands.")
    for one in declared:
        if not isinstance(one, PluginCommand):
            raise BadCommand("easel_commands must return a list of PluginCommand.")
        if one.name in taken or one.name in commands:
            raise BadCommand(f"There is a command {one.name} already: give this one another name.")
        commands[one.name] = _check_command(plugin, one)
    return tuple(commands.values())


def _check_command(plugin: str, one: PluginCommand) -> OwnCommand:
    if not isinstance(one.name, str) or not _NAME.fullmatch(one.name):
        shown = clean_excerpt(str(one.name), 40)
        raise BadCommand(
            f"A command cannot be called {shown!r}: its name has a to z, 0 to 9 and _, at most 32 of them."
        )
    if not callable(one.run) or one.answers not in ("job", "text"):
        raise BadCommand(f'The command {one.name} needs run, a function, and answers, which is "job" or "text".')
    if not isinstance(one.images, int) or not 0 <= one.images <= MAX_IMAGES or (one.images and one.answers == "text"):
        raise BadCommand(f"The command {one.name} takes 0 to {MAX_IMAGES} images, and none if it answers with a text.")
    if not clean_text(str(one.summary)) or len(one.options) > MAX_OPTIONS:
        raise BadCommand(f"The command {one.name} needs a summary, and at most {MAX_OPTIONS} options.")
    return OwnCommand(plugin, one, tuple(_to_spec(one, option) for option in _check_names(one)))


def _check_names(command: PluginCommand) -> Sequence[PluginOption]:
    names: set[str] = set()
    for option in command.options:
        if not isinstance(option, PluginOption) or not _NAME.fullmatch(str(option.name)) or option.kind not in _KINDS:
            kinds = ", ".join(_KINDS)
            raise BadCommand(
                f"Each option of {command.name} is a PluginOption with a name of a to z and a kind: {kinds}."
            )
        if option.name in names or option.name in OTHER_OPTIONS:
            raise BadCommand(f"The command {command.name} cannot have another option called {option.name}.")
        if any(choice != str(choice).casefold().strip() for choice in option.choices):
            raise BadCommand(f"The choices of {option.name} of {command.name} must be words in small letters.")
        names.add(option.name)
    if sum(option.is_main for option in command.options) > 1:
        raise BadCommand(f"Only one option of {command.name} can take the words that are typed without a flag.")
    return sorted(command.options, key=lambda option: not option.is_required)  # as Discord wants them


def _to_spec(command: PluginCommand, option: PluginOption) -> OptionSpec:
    kind = _KINDS[option.kind]
    spec = OptionSpec(
        name=option.name,
        kind=kind,
        help=clean_text(str(option.help)) or option.name,
        default=option.default,
        minimum=option.minimum,
        maximum=MAX_TEXT if kind is str and option.maximum is None else option.maximum,
        choices=tuple(map(str, option.choices)) if kind is str else (),
        is_required=option.is_required,
        is_main=option.is_main,
    )
    if option.default is not None:
        try:
            spec.parse(option.default, option.name)
        except Exception as error:
            raise BadCommand(
                f"The default of {option.name} of the command {command.name} is not one of its values."
            ) from error
    return spec
