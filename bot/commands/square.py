"""`square`: the picture becomes a square, painted on both of its shorter sides."""

from dataclasses import dataclass
from typing import Any

from bot.commands.outpainting import SHARED, Outpaint
from bot.i18n import N_


@dataclass(frozen=True, kw_only=True)
class Square(Outpaint):
    name = "square"
    summary = N_("Extend a picture to a square")
    specs = SHARED

    def _own_options(self) -> dict[str, Any]:
        return {}
