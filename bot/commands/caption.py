"""`caption`: say what is in a picture."""

from dataclasses import dataclass

from bot.commands.vision import GENERATION, VisionCommand
from bot.i18n import N_
from bot.models import IMAGE_TO_TEXT


@dataclass(frozen=True, kw_only=True)
class Caption(VisionCommand):
    name = "caption"
    summary = N_("Say what is in a picture")
    specs = GENERATION

    @property
    def task(self) -> str:
        return IMAGE_TO_TEXT

    @property
    def needle(self) -> str:
        return ""
