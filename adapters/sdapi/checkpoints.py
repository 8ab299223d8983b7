"""Models as AUTOMATIC1111's checkpoints: their titles, and which one a call uses."""

import re
from collections.abc import Mapping
from typing import Any

from adapters.sdapi.call import SdCall
from bot.errors import InvalidOption
from bot.models import IMAGE_TASKS, TEXT_TO_IMAGE, ModelRegistry, ModelSpec
from bot.options import find_nearest

_HASH = re.compile(r"\s*\[[0-9a-f]{6,64}\]\s*$", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(safetensors|ckpt|gguf)$", re.IGNORECASE)
_UNSET = ("", "none", "automatic")


def list_checkpoints(models: ModelRegistry) -> list[ModelSpec]:
    """The installed models that make pictures, the default one first."""
    makers = [spec for spec in models.installed() if IMAGE_TASKS & set(spec.tasks)]
    default = models.default_for(TEXT_TO_IMAGE)
    return sorted(makers, key=lambda spec: spec is not default)


def describe_checkpoint(spec: ModelSpec) -> dict[str, Any]:
    """The title is the model's name, which all other commands use as well. No path of this machine is shown."""
    family = spec.capabilities.get("family") or ""
    return {
        "title": spec.name,
        "model_name": spec.name,
        "name": spec.name,
        "type": str(family),
        "hash": None,
        "sha256": None,
        "filename": spec.name,
        "config": None,
    }


def find_checkpoint(models: ModelRegistry, title: str, field: str = "sd_model_checkpoint") -> ModelSpec:
    """By its title, with or without a hash and a file's ending, or its display name. Raises: InvalidOption."""
    wanted = _plain(title)
    known = list_checkpoints(models)
    for spec in known:
        if wanted in (_plain(spec.name), _plain(spec.title)):
            return spec
    names = [spec.name for spec in known]
    near = find_nearest(wanted, names)
    raise InvalidOption(field, "choice", value=title[:60], allowed=", ".join(names), nearest=near[0] if near else "")


def _plain(title: str) -> str:
    name = _SUFFIX.sub("", _HASH.sub("", title[:200].strip()))
    return re.split(r"[/\\]", name)[-1].casefold().strip()


async def current_checkpoint(call: SdCall) -> str:
    """The name of the model that the caller has selected, else of the default one; "": there is none."""
    usecases = call.context.usecases
    chosen = await usecases.people.get_checkpoint(call.caller.person)
    known = [spec.name for spec in list_checkpoints(usecases.models)]
    return chosen if chosen in known else next(iter(known), "")


async def choose_checkpoint(call: SdCall, overrides: Mapping[str, Any]) -> str | None:
    """The model that the request names, else the one that its caller has selected; None: the command's default.

    Raises: InvalidOption.
    """
    usecases, person = call.context.usecases, call.caller.person
    title = str(overrides.get("sd_model_checkpoint") or "")
    if title.casefold() in _UNSET:
        return await usecases.people.get_checkpoint(person) or None
    spec = find_checkpoint(usecases.models, title)
    if not call.fields.flag("override_settings_restore_afterwards", default=True):
        await usecases.people.set_checkpoint(person, spec.name)
    return spec.name
