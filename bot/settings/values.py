"""What one dataclass of settings takes, and how a value of a file or of a variable is checked against it."""

import contextlib
import dataclasses
import functools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SHOWN = 40


class Shape:
    """What a dataclass of settings takes, and how its values are checked."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        own = {one.name: one for one in dataclasses.fields(kind) if one.init}
        hints = get_type_hints(kind, include_extras=True)
        self.hints: dict[str, Any] = {name: hints[name] for name in own}
        self.required = [name for name, one in own.items() if one.default is MISSING and one.default_factory is MISSING]
        self._bounds: Mapping[str, tuple[float | None, float | None]] = getattr(kind, "bounds", {})

    def read(self, key: str, value: Any) -> Any:
        """The value as its dataclass wants it: strictly of the right type (text is no number), within its bounds.

        Raises: ValueError.
        """
        # By JSON, because its lists and texts may become tuples and paths without being lax about numbers.
        found = _adapter(self.hints[key]).validate_json(json.dumps(value, default=str), strict=True)
        if not self._is_within(key, found):
            raise ValueError(key)
        return found

    def read_text(self, key: str, text: str) -> Any:
        """What a variable's text means for this key. Raises: ValueError."""
        for value in _readings(self.hints[key], text):
            with contextlib.suppress(ValueError):
                return self.read(key, value)
        raise ValueError(key)

    def _is_within(self, key: str, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        low, high = self._bounds.get(key, (0, None))
        return math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)

    def allowed(self, key: str) -> str:
        words = _words(self.hints[key])
        if words not in (_WORDS[int], _WORDS[float]):
            return words
        low, high = self._bounds.get(key, (0, None))
        if low is not None and high is not None:
            return f"{words} from {low:g} to {high:g}"
        return words if low is None else f"{words} of at least {low:g}"


_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def _words(hint: Any) -> str:
    """What a value may be, for a person."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_words(one) for one in inner if one is not NoneType)
    if origin in (tuple, list, frozenset, set):
        return f"a list, each {_words(inner[0])}" if inner else "a list"
    if origin is not None and inner and isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter  # a quarter of a second that only reading settings is worth

    return TypeAdapter(hint)


def _readings(hint: Any, text: str) -> Iterator[Any]:
    """What a text may stand for, in the order to try: text, a word for yes or no, TOML, a list with commas."""
    plain = text.strip()
    if not _takes_list(hint) or not ("," in plain or plain.startswith("[")):
        yield text
    if hint is bool:
        plain = plain.casefold()
        yield _YES_AND_NO.get(plain)
    with contextlib.suppress(tomllib.TOMLDecodeError):
        yield tomllib.loads(f"value = {plain}")["value"]
    if _takes_list(hint) and not plain.startswith("["):
        yield [part.strip() for part in plain.split(",") if part.strip()]


_YES_AND_NO = {"yes": True, "on": True, "1": True, "no": False, "off": False, "0": False}


def _takes_list(hint: Any) -> bool:
    return any(get_origin(one) in (tuple, list) for one in (hint, *get_args(hint)))


def show(value: Any) -> str:
    """A value as it may be told: long texts could be a token in the wrong place, so only their length is."""
    if isinstance(value, str):
        return f"\u201c{value}\u201d" if len(value) <= _SHOWN // 2 else f"a text of {len(value)} characters"
    if isinstance(value, dict):
        return "a table"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
