"""The commands as Discord lists them: made from the core's own descriptions, so that there is one grammar."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

import discord
from discord import app_commands

from adapters.discord import autocomplete, texts
from bot.chat.admin import WHATS
from bot.chat.texts import HELP
from bot.commands import COMMANDS, Command, Imagine
from bot.i18n import N_
from bot.options import OptionSpec
from bot.usecases.people import DEFAULTS

if TYPE_CHECKING:
    from adapters.discord.client import EaselClient

OPTION_NAMES = (
    *("prompt", "negative", "seed", "steps", "guidance", "count", "size", "aspect", "model", "style"),
    *("strength", "question"),
)
"""What options are called in chats; INTERFACES fixes them. Options without such a name are for other doors."""
IMAGE_HELP = N_("The picture")
MORE_IMAGES_HELP = N_("Another picture to refer to, where the model takes several")
CONFIRM_HELP = N_("True: yes, make every picture that {a|b} in the prompt stands for")
MAX_TEXT = 6000
MAX_DESCRIPTION = 100
SHORT: Mapping[str, tuple[tuple[str, Any, str], ...]] = {
    "queue": (),
    "cancel": (("id", str, N_("Which one: the beginning of its name will do")),),
    "history": (("search", str | None, N_("Words from prompts, questions and answers")),),
    "show": (("id", str, N_("Which one: the beginning of its name will do")),),
    "quota": (),
    "settings": (
        ("option", str | None, N_("Which option; without a value it is cleared")),
        ("value", str | None, N_("What it shall be from now on")),
    ),
    "models": (),
    "privacy": (
        ("what", str | None, N_("export: a copy of your data; forget: delete it")),
        ("confirm", bool | None, N_("True: yes, delete everything kept of me")),
    ),
    "admin": (
        ("what", str | None, N_("models: which there are; policy: what is shown in this server")),
        ("action", str | None, N_("use, stop or remove a model; block, spoiler, allow or default for a policy")),
        ("model", str | None, N_("Which model")),
        ("accept", bool | None, N_("True: I have read the licence and accept it")),
        ("edit_others", bool | None, N_("Whether pictures that somebody else posted may be edited")),
    ),
    "help": (),
}
"""Commands that are no jobs, and their options."""
CHOICES = {
    ("privacy", "what"): (N_("export"), N_("forget")),
    ("settings", "option"): tuple(autocomplete.chat_name(name) for name in DEFAULTS),
    ("admin", "what"): WHATS,
}
"""By command and option."""


def build_tree(client: "EaselClient") -> "app_commands.CommandTree[EaselClient]":
    tree = SlashCommandTree(
        client,
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    for kind in COMMANDS.values():
        tree.add_command(_job_command(kind))
    for name, options in SHORT.items():
        tree.add_command(_chat_command(name, options))
    for name in (texts.ASK_ABOUT, texts.CAPTION_THIS, texts.VARY_THIS):
        tree.add_command(_context_menu(name))
    return tree


class SlashCommandTree(app_commands.CommandTree["EaselClient"]):
    async def on_error(
        self, interaction: "discord.Interaction[EaselClient]", error: app_commands.AppCommandError, /
    ) -> None:
        """A command of an older version, mostly: it is answered like every other that we do not know."""
        data: Any = interaction.data or {}
        name = str(data.get("name", ""))
        await interaction.client.event_handler.on_unknown_command(interaction, name, error)


def _job_command(kind: type[Command]) -> "app_commands.Command[Any, ..., Any]":
    parameters = []
    words: dict[str, str] = {}
    for spec in kind.specs:
        name = autocomplete.chat_name(spec.name, *spec.aliases)
        if name in OPTION_NAMES or spec.is_required:
            parameters.append(_parameter(name, _annotation(spec), is_required=spec.is_required))
            words[name] = spec.help
    if kind is Imagine:
        parameters.append(_parameter("confirm", bool, is_required=False))
        words["confirm"] = CONFIRM_HELP
    if kind.images_allowed:
        is_required = kind.images_needed > 0
        parameters.append(_parameter("image", discord.Attachment, is_required=is_required))
        words["image"] = IMAGE_HELP
    for number in range(2, kind.images_allowed + 1):
        parameters.append(_parameter(f"image{number}", discord.Attachment, is_required=False))
        words[f"image{number}"] = MORE_IMAGES_HELP
    return _build_command(kind.name, kind.summary, parameters, words)


def _chat_command(name: str, options: tuple[tuple[str, Any, str], ...]) -> "app_commands.Command[Any, ..., Any]":
    parameters = [_parameter(one, kind, is_required=kind is str) for one, kind, _ in options]
    return _build_command(name, HELP[name], parameters, {one: told for one, _, told in options})


def _build_command(
    name: str, summary: str, parameters: list[inspect.Parameter], words: dict[str, str]
) -> "app_commands.Command[Any, ..., Any]":
    async def run(interaction: "discord.Interaction[EaselClient]", **values: Any) -> None:
        await interaction.client.event_handler.on_slash_command(interaction, name, values)

    first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=discord.Interaction)
    run.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    app_commands.describe(**{one: told[:MAX_DESCRIPTION] for one, told in words.items()})(run)
    named = [parameter.name for parameter in parameters]
    app_commands.autocomplete(**{one: how for one, how in autocomplete.AUTOCOMPLETERS.items() if one in named})(run)
    choices = {
        one: [app_commands.Choice(name=value, value=value) for value in CHOICES[name, one]]
        for one in named
        if (name, one) in CHOICES
    }
    app_commands.choices(**choices)(run)
    return app_commands.Command(name=name, description=summary[:MAX_DESCRIPTION], callback=run)


def _parameter(name: str, annotation: Any, *, is_required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if is_required else None
    kind = annotation if is_required else Optional[annotation]  # noqa: UP045 - made at run time
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _annotation(spec: OptionSpec) -> Any:
    if spec.kind is bool:
        return bool
    if spec.kind is str:
        longest = min(MAX_TEXT, int(spec.maximum or MAX_TEXT))
        return app_commands.Range[str, 1, longest]
    return app_commands.Range[spec.kind, _bound(spec, spec.minimum), _bound(spec, spec.maximum)]


def _bound(spec: OptionSpec, value: float | None) -> Any:
    return None if value is None else spec.kind(value)


def _context_menu(name: str) -> app_commands.ContextMenu:
    async def run(interaction: "discord.Interaction[EaselClient]", message: discord.Message) -> None:
        await interaction.client.event_handler.on_context_menu(interaction, name, message)

    run.__annotations__ = {"interaction": discord.Interaction, "message": discord.Message}
    return app_commands.ContextMenu(name=name, callback=run)
