"""The options of text generation, their presets, and what a model's own settings fill in."""

from collections.abc import Mapping
from typing import Any

from bot.commands.adapter_option import default_adapter, make_adapter_option
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.models import IMAGE_TEXT_TO_TEXT, ModelSpec
from bot.options import MAX_SEED, OptionSpec

SHORT, DETAILED = "short", "detailed"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    SHORT: {"max_new_tokens": 12, "min_new_tokens": 1, "length_penalty": -1.0},
    DETAILED: {"max_new_tokens": 80, "num_beams": 5, "length_penalty": 2.0},
}
"""By name, values that the model's own give way to."""
_CHAT_PRESETS: Mapping[str, Mapping[str, Any]] = {
    SHORT: {"max_new_tokens": 32},
    DETAILED: {"max_new_tokens": 256},
}
"""Of models that chat, which are asked for that length in words as well."""

GENERATION = (
    OptionSpec(
        name="preset",
        kind=str,
        help=N_("Length of the text: short or detailed"),
        choices=tuple(PRESETS),
    ),
    OptionSpec(
        name="num_beams",
        kind=int,
        help=N_("Beam-search width (default: the model's)"),
        minimum=1,
        maximum=8,
        is_advanced=True,
    ),
    OptionSpec(
        name="temperature",
        kind=float,
        help=N_("Sampling temperature; 0 is greedy"),
        minimum=0,
        maximum=2,
        default=0.0,
        is_advanced=True,
    ),
    OptionSpec(
        name="top_p",
        kind=float,
        help=N_("Nucleus sampling (top-p)"),
        minimum=0.01,
        maximum=1,
        default=1.0,
        is_advanced=True,
    ),
    OptionSpec(
        name="top_k",
        kind=int,
        help=N_("Samples from this many tokens (default: the model's); 0: all"),
        minimum=0,
        maximum=1000,
        is_advanced=True,
    ),
    OptionSpec(
        name="repetition_penalty",
        kind=float,
        help=N_("Above 1, repeats itself less"),
        minimum=0.5,
        maximum=2,
        default=1.0,
        is_advanced=True,
    ),
    OptionSpec(
        name="length_penalty",
        kind=float,
        help=N_("With several beams: above 0 prefers long texts, below 0 short ones (default: the model's)"),
        minimum=-5,
        maximum=5,
        is_advanced=True,
    ),
    OptionSpec(
        name="num_return_sequences",
        kind=int,
        help=N_("How many texts: the best of a beam search, or samples"),
        minimum=1,
        maximum=4,
        default=1,
        is_advanced=True,
    ),
    OptionSpec(
        name="min_new_tokens",
        kind=int,
        help=N_("Minimum number of tokens (default: the model's)"),
        minimum=0,
        maximum=256,
        is_advanced=True,
    ),
    OptionSpec(
        name="max_new_tokens",
        kind=int,
        help=N_("Maximum number of tokens (default: the model's)"),
        minimum=1,
        maximum=256,
        is_advanced=True,
    ),
    OptionSpec(name="seed", kind=int, help=N_("Random seed for sampling"), minimum=0, maximum=MAX_SEED),
    make_adapter_option(),
    OptionSpec(name="model", kind=str, help=N_("Model (default: the first that supports this)"), maximum=60),
)


def fill_generation(values: Mapping[str, Any], model: ModelSpec, *, is_answer: bool) -> dict[str, Any]:
    """The options of `GENERATION` but model and seed: as given, else of the preset, else the model's.

    Raises: InvalidOption.
    """
    given = {name: value for name, value in values.items() if value is not None}
    own = _model_values(model, is_answer=is_answer)
    defaults = {**own, **_preset_values(str(given.get("preset", "")), model, own)}
    filled = {spec.name: given.get(spec.name, defaults.get(spec.name, spec.default)) for spec in GENERATION}
    if filled["max_new_tokens"] < filled["min_new_tokens"] and "max_new_tokens" not in given:
        filled["max_new_tokens"] = filled["min_new_tokens"]
    if filled["min_new_tokens"] > filled["max_new_tokens"]:
        if "min_new_tokens" in given:
            allowed = f"0 to {filled['max_new_tokens']}"
            raise InvalidOption("min_new_tokens", "range", value=filled["min_new_tokens"], allowed=allowed)
        filled["min_new_tokens"] = filled["max_new_tokens"]
    is_sampling = filled["temperature"] > 0 or filled["top_p"] < 1
    if not is_sampling or filled["num_beams"] > 1:  # several texts are the best of a beam search
        filled["num_beams"] = max(filled["num_beams"], filled["num_return_sequences"])
    return filled


def _preset_values(name: str, model: ModelSpec, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """A short text is no longer than the model's usual ones, a detailed one no shorter. `own`: the model's values."""
    presets = _CHAT_PRESETS if IMAGE_TEXT_TO_TEXT in model.tasks else PRESETS
    if name not in presets:
        return {}
    choose = min if name == SHORT else max
    longest = choose(presets[name]["max_new_tokens"], own["max_new_tokens"])
    return {**presets[name], "max_new_tokens": longest}


def _model_values(model: ModelSpec, *, is_answer: bool) -> dict[str, Any]:
    return {
        "adapter": default_adapter(model),
        "num_beams": model.num_beams,
        "min_new_tokens": 1 if is_answer and model.min_caption_tokens else model.min_caption_tokens,
        "max_new_tokens": (model.max_answer_tokens if is_answer else 0) or model.max_new_tokens,
        "length_penalty": model.answer_length_penalty if is_answer else 1.0,
    }
