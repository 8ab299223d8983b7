"""Everything that a person can ask. `COMMANDS` registers."""

import difflib

from bot.commands.ask import Ask
from bot.commands.base import Command
from bot.commands.caption import Caption
from bot.commands.describe import Describe
from bot.commands.edit import Edit
from bot.commands.imagine import Imagine
from bot.commands.match import Match
from bot.commands.upscale import Upscale
from bot.errors import UnknownCommand
from bot.options import clean_text

COMMANDS: dict[str, type[Command]] = {
    command.name: command for command in (Imagine, Caption, Ask, Describe, Match, Edit, Upscale)
}


def find_command(name: str) -> type[Command]:
    """Raises: UnknownCommand with the nearest name."""
    folded = name.strip().lstrip("/").casefold()
    if folded in COMMANDS:
        return COMMANDS[folded]
    near = difflib.get_close_matches(folded, COMMANDS, 1)
    raise UnknownCommand(clean_text(name)[:40], list(COMMANDS), near[0] if near else "")


__all__ = ["COMMANDS", "Ask", "Caption", "Command", "Describe", "Edit", "Imagine", "Match", "Upscale", "find_command"]
