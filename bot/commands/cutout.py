"""`cutout`: what words name in a picture, on a transparent ground."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.base import Answer, Command
from bot.commands.region_words import MAX_LENGTH, NO_SEGMENTER, check_regions
from bot.i18n import N_
from bot.models import IMAGE_SEGMENTATION, ModelSpec
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Cutout(Command):
    name = "cutout"
    summary = N_("Cut things out of a picture, on a transparent ground")
    unavailable = NO_SEGMENTER
    answers = Answer.IMAGES
    smoke_tests = (IMAGE_SEGMENTATION,)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"region": "a fox"}
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    keeps_author = True
    specs = (
        OptionSpec(
            name="region",
            kind=str,
            help=N_("Words for what to cut out, separated by commas (default: the main thing)"),
            maximum=MAX_LENGTH,
            default="",
            is_main=True,
        ),
        OptionSpec(name="model", kind=str, help=N_("Model (default: the first that supports this)"), maximum=60),
    )

    @property
    def task(self) -> str:
        return IMAGE_SEGMENTATION

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        words = str(self.values.get("region") or "")
        if words:
            check_regions("region", words)
        return {"region": words, "model": model.name}

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return 1, 0.0, 1
