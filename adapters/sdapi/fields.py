"""Reads the fields of a request, with AUTOMATIC1111's tolerance, and remembers which had no effect.

Clients send dozens of fields that they were never asked about. What is not used here is named in the answer, unless its
value means that nothing is wanted.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bot.errors import InvalidOption
from bot.options import clean_excerpt

_NOTHING: tuple[Any, ...] = (None, False, "", 0, -1, [], {}, "None", "none", "Automatic", "automatic")
_MAX_NAMED = 40
_MAX_SHOWN = 60
_ALWAYS_SENT: Mapping[str, tuple[Any, ...] | None] = {
    "eta": (1,),
    "s_noise": (1,),
    "initial_noise_multiplier": (1,),
    "image_cfg_scale": (1.5,),
    "sampler_index": None,
    "hr_upscaler": None,
    "do_not_save_samples": None,
    "do_not_save_grid": None,
    "save_images": None,
    "include_init_images": None,
    "override_settings_restore_afterwards": None,
    "hr_resize_x": None,
    "hr_resize_y": None,
    "hr_scale": None,
    "denoising_strength": None,
    "mask_blur": None,
    "inpaint_full_res": None,
    "inpainting_fill": None,
    "resize_mode": None,
    "force_task_id": None,
    "seed_enable_extras": None,
    "url": None,
    "auth": None,
}
"""Fields of clients' default requests, and the values by which they ask for nothing; None: any value."""


class SdFields:
    """The fields of a JSON object. `prefix`: what its fields are called in errors."""

    def __init__(
        self, values: Mapping[str, Any], prefix: str = "", usual: Mapping[str, tuple[Any, ...] | None] = _ALWAYS_SENT
    ) -> None:
        """`usual`: the values by which fields ask for nothing; None: any value."""
        self._values = values
        self._prefix = prefix
        # By now: a call drops its images, and what asked for something would look empty then.
        self._asking = [name for name, value in values.items() if not _asks_nothing(value, usual.get(name, ()))]
        self._used: set[str] = set()
        self.notes: list[str] = []

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def raw(self, name: str) -> Any:
        self._used.add(name)
        return self._values.get(name)

    def skip(self, *names: str) -> None:
        """Fields without a meaning in this request, which AUTOMATIC1111 would not look at either."""
        self._used.update(names)

    def text(self, name: str, default: str = "") -> str:
        """Raises: InvalidOption."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong_type(name, value, "a text")
        return value

    def number(self, name: str) -> float | None:
        """Raises: InvalidOption."""
        value = self.raw(name)
        if value is None or value == "":
            return None
        number = _to_number(value)
        if number is None:
            raise self._wrong_type(name, value, "a number")
        return number

    def number_or(self, name: str, default: float) -> float:
        """Raises: InvalidOption."""
        number = self.number(name)
        return default if number is None else number

    def integer(self, name: str) -> int | None:
        """Raises: InvalidOption."""
        number = self.number(name)
        if number is not None and number != int(number):
            raise self._wrong_type(name, number, "a whole number")
        return None if number is None else int(number)

    def integer_or(self, name: str, default: int) -> int:
        """Raises: InvalidOption."""
        number = self.integer(name)
        return default if number is None else number

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Also 0 and 1, as some fields are written. Raises: InvalidOption."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, str) and value.casefold() in ("true", "false"):
            return value.casefold() == "true"
        if value not in (True, False):
            raise self._wrong_type(name, value, "true or false")
        return bool(value)

    def items(self, name: str) -> Sequence[Any]:
        """Raises: InvalidOption."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong_type(name, value, "a list")
        return value

    def object(self, name: str) -> Mapping[str, Any]:
        """Raises: InvalidOption."""
        value = self.raw(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong_type(name, value, "an object")
        return value

    def note(self, name: str) -> None:
        """A field, or a part of one, that has no effect here."""
        if name not in self.notes:
            self.notes.append(clean_excerpt(name, _MAX_SHOWN))

    def name_ignored(self) -> list[str]:
        """The fields without an effect, by name."""
        unused = [name for name in self._asking if name not in self._used]
        named = [*self.notes, *(clean_excerpt(f"{self._prefix}{name}", _MAX_SHOWN) for name in unused)]
        return list(dict.fromkeys(named))[:_MAX_NAMED]

    def _wrong_type(self, name: str, value: Any, allowed: str) -> InvalidOption:
        return InvalidOption(
            f"{self._prefix}{name}", "type", value=clean_excerpt(str(value), _MAX_SHOWN), allowed=allowed
        )


def _asks_nothing(value: Any, usual: tuple[Any, ...] | None) -> bool:
    return usual is None or value in usual or any(value == nothing for nothing in _NOTHING)


def _to_number(value: Any) -> float | None:
    """None: it is none that is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def to_json_safe(value: Any, depth: int = 0) -> Any:
    """What can be sent back of a request: without long texts, which are images, and numbers that JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value if len(value) <= MAX_ECHO else ""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {str(name)[:MAX_ECHO]: to_json_safe(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [to_json_safe(one, depth + 1) for one in value]
    return value


MAX_ECHO = 10_000
"""Characters; a longer text is an image."""
_MAX_DEPTH = 8
