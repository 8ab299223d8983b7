"""Discord's slash commands and message menus, built from the core's declarations."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import discord
from discord import app_commands

from adapters.discord import autocomplete, texts
from adapters.discord.context import connection_of
from adapters.discord.event_parsing import CONTROL_OPTION, MASK_OPTION
from adapters.discord.job_requests import CONTROL_KIND_OPTION, FLAGS_OPTION
from adapters.discord.library_patches import log_unreadable
from bot.chat.account_texts import public_option
from bot.chat.arguments import ChatOption, OptionKind
from bot.chat.commands import CHAT_COMMANDS
from bot.chat.flagged_images import has_image_flags
from bot.chat.replies import ChatCommand
from bot.commands import COMMANDS, Answer, Command, Grid, Imagine
from bot.i18n import N_
from bot.models import CONTROL_KINDS
from bot.options import MAX_PROMPT, OptionSpec
from bot.plugins.plugin_commands import OwnCommand

IMAGE_HELP = N_("The picture")
MORE_IMAGES_HELP = N_("Another reference picture, if the model supports several")
MORE_ASKED_HELP = N_("Another picture that the question is about, if the model sees several together")
MASK_HELP = N_("A mask: the picture changes only where it is white, or painted on a clear canvas")
CONTROL_HELP = N_("A picture that controls the composition; control_kind says how")
CONTROL_KIND_HELP = N_("What the control is: outlines, a sketch, depth, a pose, or tile")
FLAGS_HELP = N_("Further options, as in: --control depth:0.6 --style-of ID --schedule karras")
MORE_FLAGS_HELP = N_("Further options, as flags: --sampler euler")
CONFIRM_HELP: Mapping[type[Command], str] = {
    Imagine: N_("True: yes, make every picture that {a|b} in the prompt stands for"),
    Grid: N_("True: yes, make every picture of the grid, at the price that was named"),
}
GRID_OPTIONS = (
    "prompt", "x", "y", "z", "negative_prompt", "seed", "steps", "guidance_scale", "size", "aspect", "strength",
    "style", "model",
)  # fmt: skip
"""The options of /grid that are listed: with all of them there would be more than Discord allows."""
MAX_TEXT = 6000
MAX_DESCRIPTION = 100
MAX_COMMANDS = 100


@dataclass
class _Parameters:
    """The options of one command in discord.py's form."""

    parameters: list[inspect.Parameter] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    autocompleters: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, list[app_commands.Choice[str]]] = field(default_factory=dict)

    def add(self, name: str, annotation: Any, help_text: str, *, is_required: bool = False) -> None:
        default = inspect.Parameter.empty if is_required else None
        kind = annotation if is_required else Optional[annotation]  # noqa: UP045 - made at run time
        self.parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        )
        self.descriptions[name] = help_text[:MAX_DESCRIPTION]


def build_tree(client: discord.Client, of_plugins: Sequence[OwnCommand] = ()) -> app_commands.CommandTree[Any]:
    """`of_plugins`: commands of the plugins that run now; as many as Discord allows beside Easel's own."""
    tree = SlashCommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    limit = autocomplete.SuggestionLimit()
    logging.getLogger("discord.app_commands.tree").addFilter(autocomplete.is_no_lost_suggestion)
    for kind in COMMANDS.values():
        tree.add_command(_job_command(kind, limit))
    for command in CHAT_COMMANDS.values():
        if command.is_listed:
            tree.add_command(_chat_command(command, limit))
    replace_plugin_commands(tree, (), of_plugins)
    for name in (texts.ASK_ABOUT, texts.CAPTION_THIS, texts.VARY_THIS, texts.REPORT_THIS):
        tree.add_command(_context_menu(name))
    return tree


def replace_plugin_commands(
    tree: app_commands.CommandTree[Any], before: Sequence[OwnCommand], after: Sequence[OwnCommand]
) -> None:
    for own in before:
        tree.remove_command(own.name)
    free = MAX_COMMANDS - len(tree.get_commands(type=discord.AppCommandType.chat_input))
    for own in after[:free]:
        tree.add_command(_plugin_command(own))


class SlashCommandTree(app_commands.CommandTree[Any]):
    async def _call(self, interaction: discord.Interaction[Any]) -> None:
        """The library ends the call without a word if it cannot read the options."""
        try:
            await super()._call(interaction)
        except app_commands.AppCommandError:
            raise
        except Exception as error:  # whatever an interaction contains
            with log_unreadable("command"):
                await connection_of(interaction).event_handler.on_unreadable_command(interaction, error)

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError, /) -> None:
        """Mostly a command of an older version, which Discord still lists."""
        data: Any = interaction.data or {}
        name = str(data.get("name", ""))
        with log_unreadable("command"):
            await connection_of(interaction).event_handler.on_unknown_command(interaction, name, error)


def _job_command(kind: type[Command], limit: autocomplete.SuggestionLimit) -> app_commands.Command[Any, ..., Any]:
    made = _Parameters()
    for spec in _listed_specs(kind):
        name = public_option(spec.name)
        made.add(name, _annotation(spec), spec.help, is_required=spec.is_required)
        if 0 < len(spec.choices) <= autocomplete.MAX_CHOICES:
            made.choices[name] = _choices(spec.choices)
        elif name in autocomplete.AUTOCOMPLETERS:
            made.autocompleters[name] = limit.apply_to(autocomplete.AUTOCOMPLETERS[name])
    if kind in CONFIRM_HELP:
        made.add("confirm", bool, CONFIRM_HELP[kind])
    if kind.images_allowed:
        made.add("image", discord.Attachment, IMAGE_HELP, is_required=kind.images_needed > 0)
    if "mask" in kind.further_images:
        made.add(MASK_OPTION, discord.Attachment, MASK_HELP)
    for number in range(2, kind.images_allowed + 1):
        is_needed = number <= kind.images_needed
        more_help = MORE_IMAGES_HELP if kind.answers is Answer.IMAGES else MORE_ASKED_HELP
        help_text = IMAGE_HELP if is_needed else more_help
        made.add(f"image{number}", discord.Attachment, help_text, is_required=is_needed)
    _add_image_flags(kind, made)
    return _build_command(kind.name, kind.summary, made)


def _listed_specs(kind: type[Command]) -> list[OptionSpec]:
    """The options of a command that have a place of their own; the others are typed into `flags`."""
    if kind is Grid:
        known = {spec.name: spec for spec in kind.specs}
        return [known[name] for name in GRID_OPTIONS]
    return [spec for spec in kind.specs if not spec.is_advanced]


def _add_image_flags(kind: type[Command], made: _Parameters) -> None:
    """A control, and an option that takes all others as they are typed elsewhere: Discord allows 25 a command."""
    if "control" in kind.further_images:
        made.add(CONTROL_OPTION, discord.Attachment, CONTROL_HELP)
        made.add(CONTROL_KIND_OPTION, str, CONTROL_KIND_HELP)
        made.choices[CONTROL_KIND_OPTION] = _choices(CONTROL_KINDS)
    has_more = kind.answers is Answer.IMAGES and any(spec.is_advanced for spec in kind.specs)
    if has_image_flags(kind) or has_more:
        help_text = FLAGS_HELP if has_image_flags(kind) else MORE_FLAGS_HELP
        made.add(FLAGS_OPTION, app_commands.Range[str, 1, MAX_PROMPT], help_text)


def _choices(values: Sequence[str]) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=one, value=one) for one in values]


def _chat_command(command: ChatCommand, limit: autocomplete.SuggestionLimit) -> app_commands.Command[Any, ..., Any]:
    made = _Parameters()
    for option in command.options:
        made.add(option.name, _chat_annotation(option), option.help)
        if option.suggests is not None:
            made.autocompleters[option.name] = limit.apply_to(autocomplete.CHAT_AUTOCOMPLETERS[option.suggests])
        if option.choices:
            made.choices[option.name] = _choices(option.choices)
    return _build_command(command.name, command.help, made)


def _plugin_command(own: OwnCommand) -> app_commands.Command[Any, ..., Any]:
    made = _Parameters()
    for spec in own.specs:
        made.add(spec.name, _annotation(spec), spec.help, is_required=spec.is_required)
        if 0 < len(spec.choices) <= autocomplete.MAX_CHOICES:
            made.choices[spec.name] = _choices(spec.choices)
    for number in range(1, own.declared.images + 1):
        made.add("image" if number == 1 else f"image{number}", discord.Attachment, IMAGE_HELP)
    return _build_command(own.name, own.summary, made)


def _build_command(name: str, summary: str, made: _Parameters) -> app_commands.Command[Any, ..., Any]:
    async def run(interaction: discord.Interaction[Any], **values: Any) -> None:
        await connection_of(interaction).event_handler.on_slash_command(interaction, name, values)

    first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=discord.Interaction)
    run.__signature__ = inspect.Signature([first, *made.parameters])  # type: ignore[attr-defined]
    app_commands.describe(**made.descriptions)(run)
    app_commands.autocomplete(**made.autocompleters)(run)
    app_commands.choices(**made.choices)(run)
    return app_commands.Command(name=name, description=summary[:MAX_DESCRIPTION], callback=run)


def _chat_annotation(option: ChatOption) -> Any:
    if option.kind is OptionKind.NUMBER:
        return app_commands.Range[int, 1, option.maximum]
    return str if option.kind is OptionKind.TEXT else bool


def _annotation(spec: OptionSpec) -> Any:
    if spec.kind is bool:
        return bool
    if spec.kind is str:
        longest = min(MAX_TEXT, int(spec.maximum or MAX_TEXT))
        return app_commands.Range[str, 1, longest]
    if spec.minimum is None and spec.maximum is None:
        return spec.kind
    return app_commands.Range[spec.kind, _bound(spec, spec.minimum), _bound(spec, spec.maximum)]


def _bound(spec: OptionSpec, value: float | None) -> Any:
    return None if value is None else spec.kind(value)


def _context_menu(name: str) -> app_commands.ContextMenu:
    async def run(interaction: discord.Interaction[Any], message: discord.Message) -> None:
        await connection_of(interaction).event_handler.on_context_menu(interaction, name, message)

    run.__annotations__ = {"interaction": discord.Interaction, "message": discord.Message}
    return app_commands.ContextMenu(name=name, callback=run)
