"""`pan`: the picture grows to one side by half."""

from dataclasses import dataclass
from typing import Any

from bot.commands.canvas import DIRECTIONS
from bot.commands.outpainting import SHARED, Outpaint
from bot.i18n import N_
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Pan(Outpaint):
    name = "pan"
    summary = N_("Extend a picture to one side")
    specs = (
        *SHARED,
        OptionSpec(
            name="direction",
            kind=str,
            help=N_("Where the picture grows (default: right)"),
            choices=DIRECTIONS,
            default="right",
        ),
    )

    def _read_short(self, text: str) -> dict[str, Any]:
        word = text.casefold()
        return {"direction": word} if word in DIRECTIONS else {}

    def _own_options(self) -> dict[str, Any]:
        return {"direction": self.values.get("direction", "right")}
