"""`match`: say how well each of several texts fits a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.commands.base import Command
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.options import OptionSpec

BETWEEN = "|"
MOST = 10


@dataclass(frozen=True, kw_only=True)
class Match(Command):
    """Its answer has a line for each text, the best first: a percentage and the text. Each text is judged by itself."""

    name = "match"
    summary = N_("Say how well texts fit a picture")
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    specs = (
        OptionSpec(
            name="texts",
            kind=str,
            help=N_("What may be in it: 1 to 10 texts with | between them"),
            maximum=1000,
            is_required=True,
            is_main=True,
            between=BETWEEN,
        ),
        OptionSpec(name="model", kind=str, help=N_("Which model; the first able one when not given"), maximum=60),
    )

    @property
    def task(self) -> str:
        return ZERO_SHOT_IMAGE_CLASSIFICATION

    def fill(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        count = len(texts_in(self.values["texts"]))
        if not 1 <= count <= MOST:
            raise InvalidOption("texts", "count", value=count, allowed=f"1 to {MOST}")
        return {"texts": self.values["texts"], "model": model.name}

    def steps_of(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return 1, 0.0, 1


def texts_in(line: str) -> list[str]:
    """The texts of an option, each once."""
    return list(dict.fromkeys(text.strip() for text in line.split(BETWEEN) if text.strip()))
