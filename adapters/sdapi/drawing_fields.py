"""The fields that `txt2img` and `img2img` have in common, as options."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.sdapi.fields import SdFields
from adapters.sdapi.sampling import read_sampling
from bot.errors import InvalidOption
from bot.options import MAX_SEED
from bot.prompts.styles import StyleSettings, apply_negative_style, apply_style, fold_style

MAX_IMAGES = 100
"""Of one call, as in AUTOMATIC1111's own limits."""


def read_drawing(fields: SdFields, overrides: SdFields, styles: Mapping[str, StyleSettings]) -> dict[str, Any]:
    """All but seed, count, strength and size. Raises: InvalidOption."""
    options: dict[str, Any] = {
        "prompt": fields.text("prompt"),
        "negative_prompt": fields.text("negative_prompt"),
        "steps": fields.integer("steps"),
        "guidance_scale": fields.number("cfg_scale"),
        **read_sampling(fields),
        "tiling": fields.flag("tiling") or None,
        "guidance_rescale": fields.number("diffusers_guidance_rescale") or None,
        "clip_skip": _read_clip_skip(fields, overrides),
    }
    options |= _apply_styles(options, fields, styles)
    fields.skip("sampler_index", "script_args", "script_name", "alwayson_scripts", "override_settings")
    fields.skip("n_iter", "batch_size", "send_images")
    return {name: value for name, value in options.items() if value is not None}


def _read_clip_skip(fields: SdFields, overrides: SdFields) -> int | None:
    """SD.Next has it beside the other fields. 1 is what every model does by itself."""
    given = [overrides.integer("CLIP_stop_at_last_layers"), fields.integer("clip_skip")]
    return next((layers for layers in given if layers is not None and layers > 1), None)


def _apply_styles(options: Mapping[str, Any], fields: SdFields, styles: Mapping[str, StyleSettings]) -> dict[str, Any]:
    """A single one is an option; several are written into the prompt, in their order, as AUTOMATIC1111 does."""
    names = [name for name in fields.items("styles") if isinstance(name, str) and name]
    known = [folded for name in names if (folded := fold_style(name)) in styles]
    for name in names:
        if fold_style(name) not in styles:
            fields.note(f"style {name}")
    if len(known) == 1:
        return {"style": known[0]}
    prompt, negative = str(options["prompt"]), str(options["negative_prompt"])
    for name in known:
        prompt, negative = apply_style(styles[name], prompt), apply_negative_style(styles[name], negative)
    return {"prompt": prompt, "negative_prompt": negative}


def read_size(fields: SdFields) -> dict[str, int]:
    """`width` and `height`, as far as they are given. Raises: InvalidOption."""
    sides = {name: fields.integer(name) for name in ("width", "height")}
    return {name: side for name, side in sides.items() if side is not None}


def read_count(fields: SdFields) -> int:
    """How many images, of all batches. Raises: InvalidOption."""
    size, batches = fields.integer_or("batch_size", 1), fields.integer_or("n_iter", 1)
    for name, value in (("batch_size", size), ("n_iter", batches)):
        if not 1 <= value <= MAX_IMAGES:
            raise InvalidOption(name, "range", value=value, allowed=f"1 to {MAX_IMAGES}")
    if size * batches > MAX_IMAGES:
        raise InvalidOption("n_iter", "range", value=batches, allowed=f"1 to {MAX_IMAGES // size}")
    return size * batches


def read_seeds(fields: SdFields, count: int) -> tuple[int, dict[str, Any]]:
    """The first image's seed, drawn if none is given, and the options of a variation. Raises: InvalidOption."""
    seed = fields.integer_or("seed", -1)
    highest = MAX_SEED - count + 1
    if seed == -1:
        seed = random.randint(0, highest)
    if not 0 <= seed <= highest:
        raise InvalidOption("seed", "range", value=seed, allowed=f"-1 to {highest}")
    strength, subseed = fields.number_or("subseed_strength", 0.0), fields.integer_or("subseed", -1)
    if strength <= 0:
        return seed, {}
    if subseed == -1:
        subseed = random.randint(0, MAX_SEED)
    return seed, {"variation_seed": subseed, "variation_strength": strength}


def read_scripts(fields: SdFields) -> dict[str, Any]:
    """The arguments of scripts that always run, by their name in lower case. Raises: InvalidOption."""
    return {str(name).casefold(): values for name, values in fields.object("alwayson_scripts").items()}


def read_arguments(scripts: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Of one script; none where they are no list."""
    arguments = _given_arguments(scripts.get(name))
    return arguments if isinstance(arguments, list) else []


def note_scripts(scripts: Mapping[str, Any], fields: SdFields) -> None:
    """Those that are not here, unless they are switched off, and arguments that are no units."""
    for name, values in scripts.items():
        arguments = _given_arguments(values)
        if name in _SCRIPTS:
            has_effect = isinstance(arguments, list) and all(isinstance(one, _UNIT) for one in arguments)
        else:
            has_effect = isinstance(arguments, list) and arguments[:1] in ([], [False], [None])
        if arguments and not has_effect:
            fields.note(f"script {name}")


def _given_arguments(values: Any) -> Any:
    return values.get("args") if isinstance(values, dict) else values


_SCRIPTS = ("controlnet", "adetailer")
_UNIT = (dict, bool, type(None))
"""Flags come before units, and clients fill up with nothing."""
