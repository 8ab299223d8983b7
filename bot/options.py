"""One grammar for every way of asking: slash options, `--flags` in text, captions, replies, modals, REST bodies.

An `OptionSpec` says what one option is; `read_options` checks named values (REST, slash), `read_text` finds `--flags`
in a typed line first. Both raise `InvalidOption` and change nothing.
"""

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.errors import InvalidOption

MAX_PROMPT = 2000
MAX_SEED = 4294967295

_BIDI_AND_INVISIBLE = {
    *range(0x200B, 0x200D),  # zero-width space and non-joiner; U+200D stays only between emoji
    *range(0x200E, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2065),
    *range(0x2066, 0x2070),
    0x061C,
    0xFEFF,
}
_JOINER = "\u200d"


def clean_text(text: str) -> str:
    """NFC, without control, bidi and zero-width characters (emoji joiners kept), trimmed; new lines become spaces."""
    text = unicodedata.normalize("NFC", text)
    kept: list[str] = []
    for index, char in enumerate(text):
        if char in "\n\r\t\v\f\x85\u2028\u2029":
            kept.append(" ")
        elif char == _JOINER:
            if kept and _joins_emoji(text, index):
                kept.append(char)
        elif ord(char) not in _BIDI_AND_INVISIBLE and unicodedata.category(char) not in (
            "Cc",
            "Cs",
        ):
            kept.append(char)
    return re.sub(r" {2,}", " ", "".join(kept)).strip()


def _joins_emoji(text: str, index: int) -> bool:
    before = text[index - 1] if index else ""
    after = text[index + 1] if index + 1 < len(text) else ""
    return all(
        char and (unicodedata.category(char) in ("So", "Sk", "Mn") or char == "\ufe0f") for char in (before, after)
    )


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option of a command.

    Attributes:
        name: INTERFACES' name, as in REST bodies and stored jobs.
        kind: str, int, float or bool.
        flags: other names it goes by in chat (`negative` for `negative_prompt`).
        minimum, maximum: inclusive bounds of a number; for text, `maximum` is its length in characters.
        choices: the only values allowed, if any.
        is_required: it has no default.
        is_main: text typed without a flag is this option.
    """

    name: str
    kind: type
    help: str
    default: Any = None
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    is_required: bool = False
    is_main: bool = False

    def read(self, value: Any, written: str) -> Any:
        """The value in the option's own type. `written` is the name the person used. Raises: InvalidOption."""
        value = _convert(self.kind, value, written)
        if self.kind is str:
            return self._read_text(value, written)
        if self.kind is not bool:
            self._check_range(value, written)
        return value

    def _read_text(self, value: str, written: str) -> str:
        value = clean_text(value)
        if self.maximum is not None and len(value) > self.maximum:
            raise InvalidOption(written, "long", value=len(value), allowed=f"{self.maximum:.0f}")
        if self.is_required and not value:
            raise InvalidOption(written, "empty")
        if self.choices and value:
            return self._choose(value, written)
        return value

    def _choose(self, value: str, written: str) -> str:
        folded = value.casefold().replace(" ", "_").replace("-", "_")
        for choice in self.choices:
            if choice.replace("-", "_") == folded:
                return choice
        near = difflib.get_close_matches(value.casefold(), self.choices, 1)
        raise InvalidOption(
            written,
            "choice",
            value=value,
            allowed=", ".join(self.choices),
            nearest=near[0] if near else "",
        )

    def _check_range(self, value: float, written: str) -> None:
        low, high = self.minimum, self.maximum
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            raise InvalidOption(written, "range", value=value, allowed=self.allowed)

    @property
    def allowed(self) -> str:
        """The range in words: "1 to 50"."""
        low, high = (
            None if bound is None else f"{bound:g}" if abs(bound) < 1e6 else f"{bound:.0f}"
            for bound in (self.minimum, self.maximum)
        )
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}" if high else ""

    def describe(self) -> dict[str, Any]:
        """For `GET /commands`: type, range, default."""
        names = {str: "string", int: "integer", float: "number", bool: "boolean"}
        return {
            "name": self.name,
            "type": names[self.kind],
            "help": self.help,
            "default": self.default,
            "flags": list(self.flags),
            "minimum": None if self.kind is str else self.minimum,
            "maximum": None if self.kind is str else self.maximum,
            "max_length": int(self.maximum) if self.kind is str and self.maximum else None,
            "choices": list(self.choices) or None,
            "required": self.is_required,
        }


def _convert(kind: type, value: Any, written: str) -> Any:
    try:
        if kind is str:
            if not isinstance(value, str):
                raise TypeError
            return value
        if kind is bool:
            return _to_bool(value)
        if isinstance(value, bool):
            raise TypeError
        if kind is int:
            return _to_int(value)
        return float(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError) as error:
        words = {str: "text", bool: "yes or no", int: "a whole number", float: "a number"}
        raise InvalidOption(written, "type", value=value, allowed=words[kind]) from error


def _to_int(value: Any) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError
        return int(value)
    if isinstance(value, str):
        if len(value) > 30:
            raise ValueError
        return int(value.strip())
    if not isinstance(value, int):
        raise TypeError
    return value


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    folded = str(value).strip().casefold()
    if folded in ("yes", "true", "on", "1", ""):
        return True
    if folded in ("no", "false", "off", "0"):
        return False
    raise ValueError


def find_spec(specs: Sequence[OptionSpec], name: str) -> OptionSpec:
    """The option a person means by `name`, by any of its names. Raises: InvalidOption with the nearest known name."""
    folded = name.casefold().replace("-", "_")
    for spec in specs:
        if folded == spec.name or folded in spec.flags:
            return spec
    known = _names(specs)
    near = difflib.get_close_matches(folded, known, 1, cutoff=0.5)
    raise InvalidOption(name[:40], "unknown", allowed=", ".join(known), nearest=near[0] if near else "")


def _names(specs: Iterable[OptionSpec]) -> list[str]:
    return [name for spec in specs for name in (spec.name, *spec.flags)]


def read_options(specs: Sequence[OptionSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check named values; None means "not given". Missing required options are refused; defaults are not filled in.

    Raises: InvalidOption.
    """
    read: dict[str, Any] = {}
    for written, value in values.items():
        spec = find_spec(specs, written)
        if spec.name in read:
            raise InvalidOption(written, "twice")
        if value is not None:
            read[spec.name] = spec.read(value, written)
    for spec in specs:
        if spec.is_required and spec.name not in read:
            raise InvalidOption(spec.name, "missing")
    return read


_FLAG = re.compile(r"(?:^|(?<=\s))(?:--|\u2014|\u2013)([A-Za-z][A-Za-z_-]*)(?:=|\s+|$)")


def read_text(specs: Sequence[OptionSpec], line: str) -> dict[str, Any]:
    """Options from a typed line: text first, then `--name value`; quotes hold a value together.

    A dash that phones turn into a long one counts as `--`. `--size 128x96` and `--aspect 3:2` are options like others.
    Raises: InvalidOption.
    """
    matches = list(_FLAG.finditer(line))
    values: dict[str, Any] = {}
    main = line[: matches[0].start()] if matches else line
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        name = match.group(1)
        spec = find_spec(specs, name)
        value, rest = _split_value(spec, line[match.end() : following.start() if following else len(line)])
        if spec.name in {find_spec(specs, seen).name for seen in values}:
            raise InvalidOption(name, "twice")
        if value == "" and spec.kind is not bool:
            raise InvalidOption(name, "no_value", allowed=spec.allowed)
        values[name] = value
        main = f"{main.strip()} {rest}".strip()
    if main.strip():
        values.setdefault(next(spec.name for spec in specs if spec.is_main), main)
    return read_options(specs, values)


def _split_value(spec: OptionSpec, raw: str) -> tuple[str, str]:
    """The flag's value and what follows it. Text options take all up to the next flag, others one word."""
    raw = raw.strip()
    if raw[:1] in ('"', "\u201c", "'"):
        closing = {'"': '"', "'": "'", "\u201c": "\u201d"}[raw[0]]
        end = raw.find(closing, 1)
        if end > 0:
            return raw[1:end], raw[end + 1 :].strip()
    if spec.kind is str and not spec.choices and " " in raw and spec.name in ("negative_prompt", "question", "prompt"):
        return raw, ""
    word, _, rest = raw.partition(" ")
    return word, rest.strip()
