"""The number formats that an owner asks for: options of `models use` and `models optimize`, and the settings of a model
that they become."""

from collections.abc import Sequence
from typing import Any

from bot.errors import InvalidOption
from bot.memory.weights import EIGHT_BIT, LONG_DTYPES, NUMBER_FORMATS
from bot.models import ModelSpec
from bot.options import clean_excerpt, find_nearest

AUTO, NONE = "auto", "none"
WEIGHTS, PRECISIONS = NUMBER_FORMATS["quantize"], NUMBER_FORMATS["dtype"]


def require_choice(option: str, value: str, allowed: Sequence[str]) -> str:
    """Raises: InvalidOption."""
    if value not in allowed:
        near = find_nearest(value, allowed)
        shown = clean_excerpt(value, 60)
        raise InvalidOption(option, "choice", value=shown, allowed=", ".join(allowed), nearest=near[0] if near else "")
    return value


def long_name(precision: str) -> str:
    """ "bfloat16" for "bf16"."""
    return LONG_DTYPES.get(precision, precision)


def format_settings(spec: ModelSpec, weights: str, precision: str) -> dict[str, Any]:
    """The settings that differ from the model's own. Empty `weights` and `precision`: as they are.

    Raises: InvalidOption.
    """
    table: dict[str, Any] = {}
    if weights and require_choice("weights", weights, WEIGHTS) != spec.quantize:
        table["quantize"] = weights
    if precision:
        chosen = require_choice("precision", long_name(precision), PRECISIONS)
        if chosen != long_name(spec.dtype):
            table["dtype"] = chosen
    return table


def compiled_precision(spec: ModelSpec) -> str:
    """What a build of the model computes in, unless asked for another."""
    return "float32" if spec.dtype == AUTO else long_name(spec.dtype)


def compiled_weights(spec: ModelSpec) -> str:
    """The format of a build's weights, unless asked for another."""
    return EIGHT_BIT if spec.quantize == EIGHT_BIT else NONE
