"""`caption`: describes an image in a sentence."""

from dataclasses import dataclass

from bot.commands.vision import GENERATION, VisionCommand
from bot.i18n import N_
from bot.models import IMAGE_TO_TEXT


@dataclass(frozen=True, kw_only=True)
class Caption(VisionCommand):
    name = "caption"
    summary = N_("Describe a picture in a sentence")
    unavailable = N_("I can't describe pictures here yet; the owner can add a model.")
    smoke_tests = (IMAGE_TO_TEXT,)
    specs = GENERATION

    @property
    def task(self) -> str:
        return IMAGE_TO_TEXT

    @property
    def search_text(self) -> str:
        return ""
