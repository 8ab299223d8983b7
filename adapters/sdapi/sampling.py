"""Samplers and schedules by the names that AUTOMATIC1111 and SD.Next give them."""

from collections.abc import Iterable
from typing import Any

from adapters.sdapi.fields import SdFields
from bot.errors import InvalidOption
from bot.models import ModelSpec
from bot.options import find_nearest
from bot.samplers import (
    SAMPLER_NAMES,
    SCHEDULE_TYPES,
    SCHEDULES,
    automatic_schedule,
    find_missing_schedule,
    read_sampler,
    read_schedule,
)

_AUTOMATIC = ("", "automatic", "default", "use same scheduler")
_DEFAULT_SAMPLERS = ("", "automatic", "default", "none")


def read_sampling(fields: SdFields) -> dict[str, Any]:
    """The options `sampler` and `schedule`, as far as the request names them. Raises: InvalidOption."""
    written = fields.text("sampler_name") or fields.text("sampler_index")
    chosen = fields.text("scheduler")
    options: dict[str, Any] = {}
    sampler, suffix = read_sampler(written)
    if written.strip().casefold() not in _DEFAULT_SAMPLERS:
        if not sampler:
            raise _unknown_sampler(written)
        options["sampler"] = sampler
    if chosen.strip().casefold() in _AUTOMATIC:
        schedule = suffix or automatic_schedule(sampler)
    else:
        schedule = read_schedule(chosen)
    if missing := find_missing_schedule(written, "" if chosen.strip().casefold() in _AUTOMATIC else chosen):
        fields.note(f"scheduler {missing}")
    if schedule:
        options["schedule"] = schedule
    return options


def _unknown_sampler(written: str) -> InvalidOption:
    names = SAMPLER_NAMES.values()
    near = find_nearest(written, names)
    return InvalidOption(
        "sampler_name", "choice", value=written[:60], allowed=", ".join(names), nearest=near[0] if near else ""
    )


def list_samplers(models: Iterable[ModelSpec]) -> list[dict[str, Any]]:
    """Those that any of the models supports."""
    known = {name for model in models for name in model.known_samplers}
    return [
        {"name": title, "aliases": [name, f"k_{name}"], "options": {}}
        for name, title in SAMPLER_NAMES.items()
        if name in known
    ]


def list_schedulers() -> list[dict[str, Any]]:
    named = [("automatic", "Automatic"), *((name, SCHEDULE_TYPES[name]) for name in SCHEDULES)]
    return [
        {"name": name, "label": label, "aliases": [], "default_rho": -1, "need_inner_model": False}
        for name, label in named
    ]
