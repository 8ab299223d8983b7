"""`ask`: answers a question about an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.vision import GENERATION, VisionCommand
from bot.i18n import N_
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Ask(VisionCommand):
    name = "ask"
    summary = N_("Ask a question about a picture")
    unavailable = N_("I can't answer questions about pictures here yet; the owner can add a model.")
    smoke_tests = (VISUAL_QUESTION_ANSWERING,)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {**VisionCommand.smoke_test_values, "question": "What is this?"}
    specs = (
        OptionSpec(
            name="question",
            kind=str,
            help=N_("Your question"),
            maximum=500,
            is_required=True,
            is_main=True,
        ),
        *GENERATION,
    )

    @property
    def task(self) -> str:
        return VISUAL_QUESTION_ANSWERING
