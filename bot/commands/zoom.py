"""`zoom`: the picture becomes smaller, and what is around it is painted."""

import re
from dataclasses import dataclass
from typing import Any

from bot.commands.outpainting import SHARED, Outpaint
from bot.i18n import N_
from bot.options import OptionSpec, find_spec

_FACTOR = re.compile(r"(\d+(?:\.\d+)?)\s*[x\u00d7]?", re.IGNORECASE)
_WITH_PROMPT = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*[x\u00d7]\s*[:,]?\s+|\s*[:,]\s+|\s+(?=(?:an?|the)\s))(\S.*)", re.IGNORECASE | re.DOTALL
)
"""As in "2x a beach", "2: a beach" and "2 a beach"; "2 foxes" is a prompt."""


@dataclass(frozen=True, kw_only=True)
class Zoom(Outpaint):
    name = "zoom"
    summary = N_("Zoom out: paint what is around a picture")
    specs = (
        *SHARED,
        OptionSpec(name="factor", kind=float, help=N_("How much to zoom out"), minimum=1.1, maximum=4, default=1.5),
    )

    def _read_short(self, text: str) -> tuple[dict[str, Any], str]:
        short = _FACTOR.fullmatch(text) or _WITH_PROMPT.fullmatch(text)
        if short is None:
            return {}, text
        factor = find_spec(self.specs, "factor").parse(short[1], "factor")
        return {"factor": factor}, short[2] if short.re is _WITH_PROMPT else ""

    def _own_options(self) -> dict[str, Any]:
        return {"factor": self.values.get("factor", 1.5)}
