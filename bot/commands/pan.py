"""`pan`: the picture grows to one side by half."""

import re
from dataclasses import dataclass
from typing import Any

from bot.commands.canvas import DIRECTIONS
from bot.commands.outpainting import SHARED, Outpaint
from bot.i18n import N_
from bot.options import OptionSpec

_PHRASES = r"(?!(?:of|side|hand|and|or|to|from|in|on)\b|(?<=up )the\b|(?<=down )the\b)"
_SHORT = re.compile(rf"({'|'.join(DIRECTIONS)})(?:(?:\s*[:,]\s*|\s+{_PHRASES})(\S.*))?", re.IGNORECASE | re.DOTALL)
"""A direction may begin a prompt, too: "left of the sea", "up the hill"."""


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

    def _read_short(self, text: str) -> tuple[dict[str, Any], str]:
        short = _SHORT.fullmatch(text)
        return ({"direction": short[1].casefold()}, short[2] or "") if short else ({}, text)

    def _own_options(self) -> dict[str, Any]:
        return {"direction": self.values.get("direction", "right")}
