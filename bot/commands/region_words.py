"""The words of a region: which parts of a picture they name."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.models import IMAGE_SEGMENTATION, ModelRegistry, ModelSpec

MAX_REGIONS = 8
MAX_LENGTH = 200
NO_SEGMENTER = N_(
    "I can't find things by their names in pictures here yet: paint a mask instead, or the owner can add a model, for "
    "example with `easel models use clipseg`."
)
_SEPARATORS = re.compile(r"[,;|\n]")
_GROUND = re.compile(r"(?:(?:the|a|its) )?(?:background|backdrop|surroundings)")


def choose_segmenter(models: ModelRegistry, command: str) -> ModelSpec:
    """The model that finds what words name. Raises: NoModel: a sentence names what to add."""
    model = models.default_for(IMAGE_SEGMENTATION)
    if model is None:
        raise NoModel(command, NO_SEGMENTER)
    return model


def split_regions(words: str) -> list[str]:
    """The names, without duplicates: "the hat, the shoes" are two."""
    names = (" ".join(name.split()).strip(" .!?") for name in _SEPARATORS.split(words))
    return list(dict.fromkeys(name for name in names if name))


def check_regions(option: str, words: str) -> None:
    """Raises: InvalidOption: it names nothing, or too much."""
    count = len(split_regions(words))
    if not count:
        raise InvalidOption(option, "empty")
    if count > MAX_REGIONS:
        raise InvalidOption(option, "many_regions", value=count, allowed=str(MAX_REGIONS))


def check_region_options(values: Mapping[str, Any], roles: Collection[str]) -> None:
    """Of a request that repaints a part; `roles`: of its images. Raises: InvalidOption."""
    for name in ("region", "keep"):
        if values.get(name) and "init" not in roles:
            raise InvalidOption(name, "needs_init")
    if values.get("region"):
        check_regions("region", str(values["region"]))
    elif values.get("keep") and "mask" not in roles:
        raise InvalidOption("keep", "keep_what")


def is_ground(name: str) -> bool:
    """Whether it is what is behind all things."""
    return bool(_GROUND.fullmatch(name.casefold()))


def not_found(option: str, missing: Sequence[str]) -> InvalidOption:
    """Nothing that was named is in the picture; an empty name is the main thing."""
    if not any(missing):
        return InvalidOption(option, "no_subject")
    words = ", ".join(missing)
    return InvalidOption(option, "region_not_found", value=words, allowed=words)
