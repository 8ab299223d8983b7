"""`ask`: answer a question about a picture."""

from dataclasses import dataclass

from bot.commands.vision import GENERATION, VisionCommand
from bot.i18n import N_
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Ask(VisionCommand):
    name = "ask"
    summary = N_("Ask a question about a picture")
    specs = (
        OptionSpec(
            name="question",
            kind=str,
            help=N_("What to ask"),
            maximum=500,
            is_required=True,
            is_main=True,
        ),
        *GENERATION,
    )

    @property
    def task(self) -> str:
        return VISUAL_QUESTION_ANSWERING
