"""`zoom`: the picture becomes smaller, and what is around it is painted."""

from dataclasses import dataclass
from typing import Any

from bot.commands.outpainting import SHARED, Outpaint
from bot.i18n import N_
from bot.options import OptionSpec


@dataclass(frozen=True, kw_only=True)
class Zoom(Outpaint):
    name = "zoom"
    summary = N_("Zoom out: paint what is around a picture")
    specs = (
        *SHARED,
        OptionSpec(name="factor", kind=float, help=N_("How much to zoom out"), minimum=1.1, maximum=4, default=1.5),
    )

    def _own_options(self) -> dict[str, Any]:
        return {"factor": self.values.get("factor", 1.5)}
