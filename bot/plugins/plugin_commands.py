"""The commands of plugins: their declarations are checked once, and their options read as those of other commands."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bot.options import OptionSpec, clean_excerpt, clean_text, parse_options, parse_text
from bot.plugins.command_options import LINE, NAME, BadCommand, check_option
from bot.plugins.hook_values import PluginCommand

MAX_SUMMARY = 100
MAX_OPTIONS = 20
MAX_COMMANDS = 50
MAX_IMAGES = 4
MAX_CHARACTERS = 7500
"""Of a command's options; Discord takes 8000 with its name and what it does."""


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
    if not isinstance(one.name, str) or not NAME.fullmatch(one.name):
        shown = clean_excerpt(str(one.name), 40)
        raise BadCommand(
            f"A command cannot be called {shown!r}: its name has a to z, 0 to 9 and _, at most 32 of them."
        )
    if not callable(one.run) or one.answers not in ("job", "text"):
        raise BadCommand(f'The command {one.name} needs run, a function, and answers, which is "job" or "text".')
    if not isinstance(one.images, int) or not 0 <= one.images <= MAX_IMAGES or (one.images and one.answers == "text"):
        raise BadCommand(f"The command {one.name} takes 0 to {MAX_IMAGES} images, and none if it answers with a text.")
    if not isinstance(one.options, list | tuple) or len(one.options) > MAX_OPTIONS or not clean_text(str(one.summary)):
        raise BadCommand(f"The command {one.name} needs a summary, and at most {MAX_OPTIONS} options.")
    return OwnCommand(plugin, one, _check_options(one))


def _check_options(command: PluginCommand) -> tuple[OptionSpec, ...]:
    """The required ones first, as Discord wants them."""
    specs: dict[str, OptionSpec] = {}
    for option in command.options:
        spec = check_option(command, option)
        if spec.name in specs:
            raise BadCommand(f"The command {command.name} cannot have another option called {spec.name}.")
        specs[spec.name] = spec
    if sum(spec.is_main for spec in specs.values()) > 1:
        raise BadCommand(f"Only one option of {command.name} can take the words that are typed without a flag.")
    if sum(map(_count_characters, specs.values())) > MAX_CHARACTERS:
        raise BadCommand(f"The options of {command.name} have more than {MAX_CHARACTERS} characters: shorten them.")
    return tuple(sorted(specs.values(), key=lambda spec: not spec.is_required))


def _count_characters(spec: OptionSpec) -> int:
    """As Discord counts them: choices have a name and a value."""
    return len(spec.name) + min(MAX_SUMMARY, len(spec.help)) + 2 * sum(map(len, spec.choices))
