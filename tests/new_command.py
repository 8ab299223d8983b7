"""Commands that Easel does not have: this file and a line in `COMMANDS` are all that a command needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bot.commands import COMMANDS, Answer
from bot.commands.vision import GENERATION, VisionCommand
from bot.models import IMAGE_TO_TEXT, ModelSpec
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


@dataclass(frozen=True, kw_only=True)
class Mirror(Palette):
    """Answers with images, although its task is in no list of those that make images."""

    name = "mirror"
    summary = "Mirror a picture"
    answers = Answer.IMAGES
    specs = (OptionSpec(name="look", kind=str, help="What the fake engine sees", default="", is_main=True), *GENERATION)

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        size = {"width": 64, "height": 64, "count": 1}
        return super().fill_options(model, seed, aspect) | size | {"question": self.values.get("look", "")}

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return 1, 0.0, 1


ANSWER = "It is a picture"
"""What the fake engine says to a command that answers with text."""


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The lines in `COMMANDS`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMMANDS, Palette.name, Palette)
        patch.setitem(COMMANDS, Mirror.name, Mirror)
        yield
