"""Tells Discord which commands there are, only when they changed: it allows few such tellings a day."""

from typing import Any

import discord
import structlog
from discord import app_commands

from adapters.discord.failures import translated

log = structlog.get_logger()


async def sync(tree: app_commands.CommandTree[Any]) -> bool:
    """Whether they had to be told. Raises: PlatformError."""
    with translated():
        theirs = await _known(tree)
        ours = {_key(one): _ours(one) for one in tree.get_commands()}
        if theirs == ours:
            return False
        await tree.sync()
    log.info("told Discord the commands", action="discord_commands_synced", count=len(ours))
    return True


async def _known(tree: app_commands.CommandTree[Any]) -> dict[tuple[str, int], dict[str, Any]] | None:
    """What Discord says; None: a server that is not quite Discord says it in a way that the library cannot read."""
    try:
        return {_key(one): _theirs(one) for one in await tree.fetch_commands()}
    except (KeyError, TypeError, ValueError) as error:
        log.info("the list of commands could not be read", action="discord_commands_unread", error=repr(error))
        return None


def _key(command: Any) -> tuple[str, int]:
    kind = getattr(command, "type", discord.AppCommandType.chat_input)
    return command.name, kind.value


def _ours(command: Any) -> dict[str, Any]:
    """Without contexts and installs: the library reads those of a fetched command wrongly (2.7.1: one too low)."""
    parameters = getattr(command, "parameters", [])
    return {
        "description": getattr(command, "description", ""),
        "options": [_option(one) for one in parameters],
        "nsfw": command.nsfw,
    }


def _theirs(command: app_commands.AppCommand) -> dict[str, Any]:
    return {
        "description": command.description,
        "options": [_option(one) for one in command.options],
        "nsfw": command.nsfw,
    }


def _option(option: Any) -> dict[str, Any]:
    is_text = option.type is discord.AppCommandOptionType.string
    return {
        "name": option.name,
        "description": str(option.description),
        "type": option.type.value,
        "required": option.required,
        "choices": [(one.name, one.value) for one in option.choices],
        "minimum": _length(option, "min_length") if is_text else option.min_value,
        "maximum": _length(option, "max_length") if is_text else option.max_value,
        "autocomplete": bool(option.autocomplete),
    }


def _length(option: Any, name: str) -> Any:
    """Parameters of ours call it a value, what Discord tells calls it a length."""
    return getattr(option, name, None) if hasattr(option, name) else getattr(option, name.replace("length", "value"))
