"""`describe`: turns an image into several prompts, each of which can be imagined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.commands.base import Answer
from bot.commands.vision import GENERATION, VisionCommand
from bot.i18n import N_
from bot.models import IMAGE_TO_TEXT
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Describe(VisionCommand):
    """Answers with one prompt per line, all different; there may be fewer than requested."""

    name = "describe"
    summary = N_("Turn a picture into prompts")
    unavailable = N_("I can't describe pictures here yet; the owner can add a model.")
    answers = Answer.LINES
    album_allowed = 1
    specs = (
        OptionSpec(name="count", kind=int, help=N_("How many prompts"), minimum=1, maximum=4, default=4),
        *(spec for spec in GENERATION if spec.name != "num_return_sequences"),  # `count` says how many
    )

    @property
    def task(self) -> str:
        return IMAGE_TO_TEXT

    @property
    def search_text(self) -> str:
        return ""

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        tokens, area, count = super().work_units(options)
        return tokens * int(options["count"]), area, count
