"""Styles: the owner's prompt templates, `[styles.NAME]` in the config."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

PROMPT_PLACEHOLDER = "{prompt}"


@dataclass(frozen=True, kw_only=True)
class StyleSettings:
    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {}

    prompt: str = PROMPT_PLACEHOLDER
    """Template of the prompt; `{prompt}` is the person's prompt, which otherwise comes first."""
    negative: str = ""
    """Negative prompt, for models that support one."""


def fold_style(name: str) -> str:
    """A style's name in the config, from what a person typed: `Oil painting` is `oil-painting`."""
    return re.sub(r"[\s_]+", "-", name.strip().casefold())


def apply_style(style: StyleSettings, prompt: str) -> str:
    """The prompt with the style applied."""
    if PROMPT_PLACEHOLDER in style.prompt:
        return style.prompt.replace(PROMPT_PLACEHOLDER, prompt)
    return _join(prompt, style.prompt)


def apply_negative_style(style: StyleSettings, negative: str) -> str:
    if PROMPT_PLACEHOLDER in style.negative:
        return style.negative.replace(PROMPT_PLACEHOLDER, negative)
    return _join(negative, style.negative)


def _join(first: str, second: str) -> str:
    return ", ".join(part for part in (first.strip(), second.strip()) if part)


NAMED_SECTIONS: Mapping[str, type] = {"styles": StyleSettings}
"""Config sections with one table per name, beside `[models.NAME]`."""
