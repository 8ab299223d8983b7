"""Styles: looks that the owner wrote down once, `[styles.NAME]` in the config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

PLACE = "{prompt}"


@dataclass(frozen=True, kw_only=True)
class StyleSettings:
    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {}

    prompt: str = PLACE
    """What is asked for; `{prompt}` is what the person wrote, which otherwise comes first."""
    negative: str = ""
    """What is kept out, for models that take a negative prompt."""


def styled(style: StyleSettings, prompt: str) -> str:
    """The prompt in the style."""
    if PLACE in style.prompt:
        return style.prompt.replace(PLACE, prompt)
    return _joined(prompt, style.prompt)


def styled_negative(style: StyleSettings, negative: str) -> str:
    if PLACE in style.negative:
        return style.negative.replace(PLACE, negative)
    return _joined(negative, style.negative)


def _joined(first: str, second: str) -> str:
    return ", ".join(part for part in (first.strip(), second.strip()) if part)


NAMED: Mapping[str, type] = {"styles": StyleSettings}
"""Sections of the config that hold a table for each name, beside `[models.NAME]`."""
