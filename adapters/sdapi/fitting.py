"""Fits a request to the model that will do it.

Clients always send a size, a sampler and a guidance scale, whichever model is selected. What the model cannot do of
that becomes the nearest that it can, or is left out, and is named in the answer. What was asked for on purpose, such as
hires fix or a control, is refused by its command instead.
"""

from collections.abc import Mapping
from typing import Any

from adapters.sdapi.fields import SdFields
from bot.commands import Command
from bot.commands.imagine import MAX_ASPECT, fit_aspect
from bot.errors import InvalidOption
from bot.models import ModelSpec
from bot.usecases.recalled import nearest_size

_LEFT_OUT: Mapping[str, str] = {
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "negative_prompt": "negative_prompt",
    "guidance_scale": "cfg_scale",
    "clip_skip": "CLIP_stop_at_last_layers",
    "strength": "denoising_strength",
}
"""Options that are left out if a model lacks them, and their names here."""


def fit_options(command: Command, model: ModelSpec, options: Mapping[str, Any], fields: SdFields) -> dict[str, Any]:
    """`command`: made of the options. Raises: InvalidOption: the model lacks what was asked for on purpose."""
    fitted = dict(options)
    if fitted.get("steps") and fitted["steps"] > model.max_steps:
        fields.note(f"steps {fitted['steps']}: {model.max_steps}")
        fitted["steps"] = model.max_steps
    _fit_size(fitted, model, fields)
    return _leave_out_lacking(command, model, fitted, fields)


def _fit_size(fitted: dict[str, Any], model: ModelSpec, fields: SdFields) -> None:
    asked = (fitted.get("width") or model.width, fitted.get("height") or model.height)
    if "width" not in fitted and "height" not in fitted:
        return
    width, height = _size_for(model, *asked)
    if (width, height) != asked:
        fields.note(f"size {asked[0]}x{asked[1]}: {width}x{height}")
    fitted |= {"width": width, "height": height}


def _size_for(model: ModelSpec, width: int, height: int) -> tuple[int, int]:
    """The nearest size that the model supports; of one that is too large its shape alone, at the model's own area: at
    its limits a model draws worse."""
    if max(width, height) <= model.max_size:
        return nearest_size(model, width, height)
    return fit_aspect(model, min(MAX_ASPECT, max(1 / MAX_ASPECT, width / height)), "width")


def _leave_out_lacking(command: Command, model: ModelSpec, options: dict[str, Any], fields: SdFields) -> dict[str, Any]:
    """Without the options that the model is known to lack. Raises: InvalidOption: it lacks another one."""
    for _ in _LEFT_OUT:
        try:
            type(command).from_options(options, command.images).for_model(model).fill_options(model, 0)
        except InvalidOption as error:
            if error.option not in _LEFT_OUT or error.option not in options:
                raise
            fields.note(f"{_LEFT_OUT[error.option]} {options.pop(error.option)}".strip())
            if error.option == "sampler":
                options.pop("schedule", None)
    return options
