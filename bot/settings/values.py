"""Validates values from files and variables against a settings dataclass."""

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

_MAX_SHOWN = 40


class SectionSchema:
    """The keys of a settings dataclass, and the validation of their values."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        own = {one.name: one for one in dataclasses.fields(kind) if one.init}
        hints = get_type_hints(kind, include_extras=True)
        self.hints: dict[str, Any] = {name: hints[name] for name in own}
        self.required = [name for name, one in own.items() if one.default is MISSING and one.default_factory is MISSING]
        self._bounds: Mapping[str, tuple[float | None, float | None]] = getattr(kind, "bounds", {})
        self.renamed: Mapping[str, str] = getattr(kind, "renamed", {})
        """New name by old name."""

    def parse_value(self, key: str, value: Any) -> Any:
        """Validate a value: strictly of the right type (text is not a number) and within its bounds.

        Raises: ValueError.
        """
        # Via JSON, in which lists and strings convert to tuples and paths while numbers stay strict.
        found = _adapter(self.hints[key]).validate_json(json.dumps(value, default=str), strict=True)
        if not self._is_within(key, found):
            raise ValueError(key)
        return found

    def parse_text(self, key: str, text: str) -> Any:
        """Parse a variable's text for this key. Raises: ValueError."""
        for value in _interpretations(self.hints[key], text):
            with contextlib.suppress(ValueError):
                return self.parse_value(key, value)
        raise ValueError(key)

    def _is_within(self, key: str, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        low, high = self._bounds.get(key, (0, None))
        return math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)

    def describe_allowed(self, key: str) -> str:
        words = _describe_hint(self.hints[key])
        if words not in (_TYPE_NAMES[int], _TYPE_NAMES[float]):
            return words
        low, high = self._bounds.get(key, (0, None))
        if low is not None and high is not None:
            return f"{words} from {low:g} to {high:g}"
        return words if low is None else f"{words} of at least {low:g}"


_TYPE_NAMES: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def _describe_hint(hint: Any) -> str:
    """The allowed values of a type, as text."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_describe_hint(one) for one in inner if one is not NoneType)
    if origin in (tuple, list, frozenset, set):
        return f"a list, each {_describe_hint(inner[0])}" if inner else "a list"
    if origin is not None and inner and isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    return _TYPE_NAMES.get(hint, getattr(hint, "__name__", str(hint)))


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter  # the import takes a quarter of a second

    return TypeAdapter(hint)


def _interpretations(hint: Any, text: str) -> Iterator[Any]:
    """Possible meanings of a text, in the order to try: text, a word for yes or no, TOML, a comma-separated list."""
    plain = text.strip()
    if not _accepts_list(hint) or not ("," in plain or plain.startswith("[")):
        yield text
    if hint is bool:
        plain = plain.casefold()
        yield _BOOLEAN_WORDS.get(plain)
    with contextlib.suppress(tomllib.TOMLDecodeError):
        yield tomllib.loads(f"value = {plain}")["value"]
    if _accepts_list(hint) and not plain.startswith("["):
        yield [part.strip() for part in plain.split(",") if part.strip()]


def parse_free_text(text: str) -> Any:
    """A variable's text where any kind of value may stand: TOML, else the text as it is."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text.strip()}")["value"]
    return text


_BOOLEAN_WORDS = {"yes": True, "on": True, "1": True, "no": False, "off": False, "0": False}


def _accepts_list(hint: Any) -> bool:
    return any(get_origin(one) in (tuple, list) for one in (hint, *get_args(hint)))


def format_value(value: Any) -> str:
    """A value for messages. A long text could be a misplaced token, so only its length is shown."""
    if isinstance(value, str):
        return f"\u201c{value}\u201d" if len(value) <= _MAX_SHOWN // 2 else f"a text of {len(value)} characters"
    if isinstance(value, dict):
        return "a table"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
