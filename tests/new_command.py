"""A command that Easel does not have: this file and a line in `COMMANDS` are all that a command needs."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bot.commands import COMMANDS
from bot.commands.vision import GENERATION, VisionCommand
from bot.models import IMAGE_TO_TEXT
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Palette(VisionCommand):
    name = "palette"
    summary = "Name the colours of a picture"
    specs = (
        OptionSpec(name="shades", kind=int, help="How many colours", minimum=1, maximum=9, default=3),
        *GENERATION,
    )

    @property
    def task(self) -> str:
        return IMAGE_TO_TEXT

    @property
    def search_text(self) -> str:
        return ""


ANSWER = "It is a picture"
"""What the fake engine says to a command that answers with text."""


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The line in `COMMANDS`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMMANDS, Palette.name, Palette)
        yield
