"""Everything that people can ask for. `COMMANDS` is the registry."""

from bot.commands.ask import Ask
from bot.commands.base import Answer, Command
from bot.commands.blend import Blend
from bot.commands.caption import Caption
from bot.commands.cutout import Cutout
from bot.commands.describe import Describe
from bot.commands.edit import Edit
from bot.commands.grid import Grid
from bot.commands.imagine import Imagine
from bot.commands.match import Match
from bot.commands.pan import Pan
from bot.commands.preview import Preview
from bot.commands.square import Square
from bot.commands.upscale import Upscale
from bot.commands.zoom import Zoom
from bot.errors import UnknownCommand
from bot.options import clean_excerpt, find_nearest

COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (
        *(Imagine, Caption, Ask, Describe, Match, Edit, Blend),
        *(Upscale, Cutout, Preview, Zoom, Pan, Square, Grid),
    )
}

_MAX_NAME = 60
"""Characters of a command's name that are looked at."""


def find_command(name: str) -> type[Command]:
    """Raises: UnknownCommand: with the most similar name."""
    folded = name[:_MAX_NAME].strip().lstrip("/").casefold()
    if folded in COMMANDS:
        return COMMANDS[folded]
    near = find_nearest(folded, COMMANDS)
    raise UnknownCommand(clean_excerpt(name, 40), list(COMMANDS), near[0] if near else "")


def answer_of(name: str) -> Answer:
    """What a job's command answers with; a text, for a command that no longer exists."""
    return COMMANDS[name].answers if name in COMMANDS else Answer.TEXT


def answer_lines(name: str, text: str | None) -> list[str]:
    """The choices in an answer of a command that answers with lines; empty for any other command."""
    return (text or "").splitlines() if answer_of(name) is Answer.LINES else []


__all__ = [
    "COMMANDS",
    "Answer",
    "Ask",
    "Blend",
    "Caption",
    "Command",
    "Cutout",
    "Describe",
    "Edit",
    "Grid",
    "Imagine",
    "Match",
    "Pan",
    "Preview",
    "Square",
    "Upscale",
    "Zoom",
    "answer_lines",
    "answer_of",
    "find_command",
]
