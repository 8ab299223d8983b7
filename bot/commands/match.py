"""`match`: compares how well texts fit an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.base import Answer, Command
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.options import OptionSpec

SEPARATOR = "|"
MAX_TEXTS = 10


@dataclass(frozen=True, kw_only=True)
class Match(Command):
    """Answers with a line for each text, best first: its share, as a percentage, and the text.

    A single text has no share; it gets a verdict: "fits", "unclear" or "does not fit". A note says when none fits.
    """

    name = "match"
    summary = N_("Score how well texts fit a picture")
    unavailable = N_("I can't compare texts with pictures here yet; the owner can add a model.")
    answers = Answer.TEXT
    smoke_tests = (ZERO_SHOT_IMAGE_CLASSIFICATION,)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"texts": "a fox | a cat"}
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    specs = (
        OptionSpec(
            name="texts",
            kind=str,
            help=N_("1 to 10 texts, separated by |"),
            maximum=1000,
            is_required=True,
            is_main=True,
            separator=SEPARATOR,
        ),
        OptionSpec(name="model", kind=str, help=N_("Model (default: the first that supports this)"), maximum=60),
    )

    @property
    def task(self) -> str:
        return ZERO_SHOT_IMAGE_CLASSIFICATION

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        count = len(split_texts(self.values["texts"]))
        if not 1 <= count <= MAX_TEXTS:
            raise InvalidOption("texts", "count", value=count, allowed=f"1 to {MAX_TEXTS}")
        return {"texts": self.values["texts"], "model": model.name}

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return 1, 0.0, 1


def split_texts(line: str) -> list[str]:
    """The texts of an option, without duplicates."""
    return list(dict.fromkeys(text.strip() for text in line.split(SEPARATOR) if text.strip()))
