"""Options of pictures beyond the usual ones: hires fix, variations, schedules and what a model is known to lack. Pure.

What a model lacks is known once it was loaded: before that, its engine refuses, and nothing is charged.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.options import MAX_SEED, OptionSpec
from bot.samplers import read_sampler

HIRES_STRENGTH = 0.5
"""Denoising strength of hires fix' second pass, where none is given."""
HIRES_MINIMUM = 1.1
VARIATION_STRENGTH = 0.1
"""With a variation seed and no strength."""
_NOT_WITH_MASK = ("hires", "variation_seed", "variation_strength", "tiling")


def hires_size(model: ModelSpec, width: int, height: int, factor: float) -> tuple[int, int]:
    """The enlarged size in the model's multiples."""
    step = model.size_multiple
    enlarged = (max(step, round(side * factor / step) * step) for side in (width, height))
    return next(enlarged), next(enlarged)


def split_sampler(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the sampler under Easel's name, and a schedule that was written behind it, as in
    "DPM++ 2M Karras", in its own option."""
    sampler, schedule = read_sampler(str(values.get("sampler") or ""))
    if not sampler:
        return dict(values)
    return {"schedule": schedule, **values, "sampler": sampler} if schedule else {**values, "sampler": sampler}


def check_schedule(schedules: Mapping[str, Sequence[str]], sampler: str, schedule: str) -> None:
    """`schedules`: what each sampler takes; one that is not there is not checked. Raises: InvalidOption."""
    allowed = schedules.get(sampler)
    if allowed is None or schedule in allowed:
        return
    if not allowed:
        raise InvalidOption("schedule", "sampler_lacks", value=sampler)
    raise InvalidOption("schedule", "sampler_choice", value=sampler, allowed=", ".join(allowed))


def check_drawing(filled: Mapping[str, Any], model: ModelSpec, images: Sequence[ImageRef]) -> None:
    """Raises: InvalidOption: the model cannot do what an option asks for, or two of them exclude each other."""
    roles = {image.role for image in images}
    _check_lacking(filled, model, starts_from_image="init" in roles)
    if "mask" in roles or filled.get("region"):
        for name in _NOT_WITH_MASK:
            if filled.get(name):
                raise InvalidOption(name, "no_mask")
    if filled.get("guidance_rescale") and "control" in roles:
        raise InvalidOption("guidance_rescale", "no_control")
    if filled.get("hires"):
        _check_hires(filled, model)
    if filled.get("schedule"):
        sampler = str(filled.get("sampler") or next(iter(model.capabilities.get("samplers", ())), ""))
        check_schedule(model.capabilities.get("schedules", {}), sampler, str(filled["schedule"]))


def _check_lacking(filled: Mapping[str, Any], model: ModelSpec, *, starts_from_image: bool) -> None:
    known = model.capabilities
    if "row_options" not in known:  # it was never loaded, or by an earlier version
        return
    able = set(known["row_options"])
    if starts_from_image or filled.get("hires"):
        able &= set(known.get("image_options", able))
    names = ("hires", "variation_seed", "variation_strength", "guidance_rescale", "clip_skip", "tiling", "schedule")
    for name in names:
        is_given = filled.get(name) not in (None, False, "", 0) and (name, filled[name]) != ("clip_skip", 1)
        if is_given and name not in able:
            raise InvalidOption(name, "model_lacks", value=model.name)
    highest = known.get("clip_skip")
    if filled.get("clip_skip", 1) > (highest or math.inf):
        raise InvalidOption("clip_skip", "range", value=filled["clip_skip"], allowed=f"1 to {highest}")


def _check_hires(filled: Mapping[str, Any], model: ModelSpec) -> None:
    if IMAGE_TO_IMAGE not in model.tasks:
        raise InvalidOption("hires", "model_lacks", value=model.name)
    width, height, factor = int(filled["width"]), int(filled["height"]), float(filled["hires"])
    if max(hires_size(model, width, height, factor)) <= model.max_size:
        return
    highest = math.floor(10 * (model.max_size // model.size_multiple * model.size_multiple) / max(width, height)) / 10
    if highest < HIRES_MINIMUM:
        raise InvalidOption("hires", "hires_size", value=factor, allowed=str(model.max_size))
    allowed = f"{HIRES_MINIMUM} to {highest:g}"
    raise InvalidOption("hires", "hires_range", value=factor, allowed=allowed, nearest=str(model.max_size))


def given_options(specs: Iterable[OptionSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of these options that were given; a switch that is off is not."""
    given = {spec.name: values.get(spec.name) for spec in specs}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def fill_variation(filled: dict[str, Any], seed: int) -> None:
    """Both options where one is given. `seed`: what a variation seed is drawn from."""
    if filled.get("variation_seed") is None and filled.get("variation_strength"):
        filled["variation_seed"] = random.Random(seed).randrange(MAX_SEED + 1)
    if filled.get("variation_seed") is not None:
        filled.setdefault("variation_strength", VARIATION_STRENGTH)


def hires_steps(filled: Mapping[str, Any]) -> float:
    """Steps of the second pass, as many of the first size as cost the same; 0 without hires fix."""
    factor = float(filled.get("hires") or 0)
    return filled["steps"] * factor**2 if factor else 0.0
