"""Details that are remade enlarged after a picture is made: what their tasks ask for and cost. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from bot.commands.region_words import check_regions, split_regions
from bot.errors import InvalidOption
from bot.models import IMAGE_TO_IMAGE, ModelSpec

STRENGTH = 0.4
"""Denoising strength: it stays the same thing in the same place."""
LEFT_OUT = frozenset(
    {"detail", "keep", "prompts", "asked", "hires", "variation_seed", "variation_strength", "tiling", "size", "aspect"}
)
"""Options of the main task that a detail has not."""


def add_word(prompt: str, word: str) -> str:
    return prompt if word.casefold() in prompt.casefold() else f"{prompt}, {word}"


def check_details(options: Mapping[str, Any], model: ModelSpec) -> list[str]:
    """The words. Raises: InvalidOption: there are none or too many, or the model cannot start from an image."""
    if options.get("detail") is None:
        return []
    check_regions("detail", str(options["detail"]))
    if IMAGE_TO_IMAGE not in model.tasks:
        raise InvalidOption("detail", "model_lacks", value=model.name)
    return split_regions(str(options["detail"]))


def detail_units(options: Mapping[str, Any], words: int) -> tuple[int, float, int]:
    """One detail for each word and picture; see `Command.work_units`."""
    steps = max(1, math.ceil(int(options["steps"]) * STRENGTH))
    return steps, float(options["width"] * options["height"]), words * int(options.get("count", 1))
