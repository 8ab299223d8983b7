"""One grammar for every way of asking: slash options, `--flags` in text, captions, replies, modals, REST bodies.

An `OptionSpec` says what one option is; `read_options` checks named values (REST, slash), `read_text` finds `--flags`
in a typed line first. Both raise `InvalidOption` and change nothing.
"""

import difflib
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.errors import InvalidOption
from bot.i18n import N_

MAX_PROMPT = 2000
MAX_SEED = 4294967295
MAX_LORA_WEIGHT = 2.0
MAX_LINE = 3 * MAX_PROMPT
"""Characters of a typed line: prompt, negative prompt and flags."""
BYTES_PER_CHARACTER = 10
"""Of a text before it is cleaned: a decomposed Hangul syllable takes nine bytes."""
MAX_MARKS = 30
"""Combining marks in a row, as in Unicode's stream-safe text format (UAX #15): normalizing takes quadratic time in
their number."""
_DECOMPOSED_MARKS = "\u0f73\u0f75\u0f81\uff9e\uff9f"
"""No combining marks themselves, but NFC or NFKC makes them such."""
_MAX_NUMBER = 30
"""Characters of a number in text."""
_MAX_NAME = 60
"""Characters of a name that are looked at."""
_MAX_COMPARED = 1000
"""Known names that a misspelt one is compared with."""

_JOINER = "\u200d"
_SPACES = frozenset("\n\r\t\v\f\x85\u2028\u2029")
_INVISIBLE_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks by category, yet nothing to see."""
_VISIBLE_FORMATS = frozenset(
    map(chr, [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD]),
)
"""Format characters by category, yet something to see: signs that numbers are written under."""
_TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""The flags of Scotland and the like: a black flag, then tags that would be unseen anywhere else."""


def clean_text(text: str) -> str:
    """NFC, without control, bidi and zero-width characters (emoji joiners kept), trimmed; new lines become spaces.

    It takes time linear in the length: of more than `MAX_MARKS` combining marks in a row, the others are removed.
    """
    if text.isascii() and text.isprintable():
        return re.sub(r" {2,}", " ", text).strip()
    text = unicodedata.normalize("NFC", limit_marks(text))
    tags = {index for flag in _TAGGED_FLAG.finditer(text) for index in range(*flag.span())}
    kept = [
        " " if char in _SPACES else char
        for index, char in enumerate(text)
        if char in _SPACES or _is_visible(char) or index in tags or (char == _JOINER and _joins_emoji(text, index))
    ]
    return unicodedata.normalize("NFC", limit_marks(re.sub(r" {2,}", " ", "".join(kept)))).strip()


def clean_excerpt(text: str, length: int) -> str:
    """The first `length` characters of the cleaned text, for messages; the rest of the text is not read."""
    return clean_text(text[: length * BYTES_PER_CHARACTER])[:length]


def check_bytes(option: str, text: str, maximum: float) -> None:
    """Refuse a text that can only be too long, before it is cleaned. Raises: InvalidOption."""
    limit = int(maximum * BYTES_PER_CHARACTER)
    if len(text) > limit or len(text.encode("utf-8", "surrogatepass")) > limit:
        raise InvalidOption(option, "long", value=len(text), allowed=f"{maximum:.0f}")


def find_nearest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names that are most similar to `name`."""
    return difflib.get_close_matches(name[:_MAX_NAME], itertools.islice(known, _MAX_COMPARED), count, cutoff)


def limit_marks(text: str) -> str:
    """The text with at most `MAX_MARKS` combining marks in a row, so that normalizing it takes linear time."""
    return text if text.isascii() else "".join(_limit_marks(text))


def _limit_marks(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        is_mark = unicodedata.combining(char) or char in _DECOMPOSED_MARKS
        marks = marks + 1 if is_mark else 0
        if marks <= MAX_MARKS:
            yield char


def _is_visible(char: str) -> bool:
    if unicodedata.category(char) in ("Cc", "Cf", "Cs"):
        return char in _VISIBLE_FORMATS
    return char not in _INVISIBLE_LETTERS


def _joins_emoji(text: str, index: int) -> bool:
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    can_end = before and (_is_symbol(before) or before == "\ufe0f" or "\U0001f3fb" <= before <= "\U0001f3ff")
    return bool(can_end and after and _is_symbol(after))


def _is_symbol(char: str) -> bool:
    return unicodedata.category(char) == "So" or char == "\u2194"


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option of a command.

    Attributes:
        name: INTERFACES' name, as in REST bodies and stored jobs.
        kind: str, int, float or bool.
        aliases: other names it goes by in chat (`negative` for `negative_prompt`).
        minimum, maximum: inclusive bounds of a number; for text, `maximum` is its length in characters.
        choices: the only values allowed, if any.
        spell: the usual spelling of a value that is written in another way and stands for a choice; "" for others.
        is_required: has no default.
        is_main: text typed without a flag is the value of this option.
        separator: between several texts in one value, if there may be several.
        is_advanced: offered over REST and on the command line, not in the menus of chats.
    """

    name: str
    kind: type
    help: str
    default: Any = None
    aliases: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    spell: Callable[[str], str] | None = None
    is_required: bool = False
    is_main: bool = False
    separator: str = ""
    is_advanced: bool = False

    def parse(self, value: Any, written: str) -> Any:
        """The value in the option's own type. `written` is the name the person used. Raises: InvalidOption."""
        value = _convert(self.kind, value, written)
        if self.kind is str:
            return self._parse_text(value, written)
        if self.kind is not bool:
            self._check_range(value, written)
        return value

    def _parse_text(self, value: str, written: str) -> str:
        check_bytes(written, value, self.maximum or MAX_PROMPT)
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
        spelt = self.spell(value) if self.spell is not None else ""
        if spelt:
            return spelt
        near = find_nearest(value.casefold(), self.choices)
        raise InvalidOption(
            written,
            "choice",
            value=value,
            allowed=", ".join(self.choices),
            nearest=near[0] if near else "",
        )

    def _check_range(self, value: float, written: str) -> None:
        low, high = self.minimum, self.maximum
        is_number = isinstance(value, int) or math.isfinite(value)  # a huge int is no float
        if not is_number or (low is not None and value < low) or (high is not None and value > high):
            raise InvalidOption(written, "range", value=value, allowed=self.allowed)

    @property
    def allowed(self) -> str:
        """The range in words: "1 to 50"."""
        low, high = (
            None if bound is None else f"{bound:g}" if abs(bound) < 1e6 else f"{bound:.0f}"
            for bound in (self.minimum, self.maximum)
        )
        if low and high:
            return low if low == high else f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}" if high else ""

    def describe(self) -> dict[str, Any]:
        """For `GET /commands`: type, range, default."""
        names = {str: "string", int: "integer", float: "number", bool: "boolean"}
        return {
            "name": self.name,
            "type": names[self.kind],
            "help": self.help,
            "default": self.default,
            "flags": list(self.aliases),
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
        if isinstance(value, str) and len(value) > _MAX_NUMBER:
            raise ValueError
        if kind is int:
            return _to_int(value)
        return float(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError) as error:
        words = {str: N_("text"), bool: N_("yes or no"), int: N_("a whole number"), float: N_("a number")}
        raise InvalidOption(written, "type", value=value, allowed=words[kind]) from error


def _to_int(value: Any) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError
        return int(value)
    if isinstance(value, str):
        return int(value.strip())
    if not isinstance(value, int):
        raise TypeError
    return value


_YES = ("yes", "true", "on", "1", "")
_NO = ("no", "false", "off", "0")


def is_yes_or_no(word: str) -> bool:
    return word.casefold() in (*_YES, *_NO)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str | int | float):
        raise TypeError
    folded = str(value)[:_MAX_NUMBER].strip().casefold()
    if folded in _YES:
        return True
    if folded in _NO:
        return False
    raise ValueError


def find_spec(specs: Sequence[OptionSpec], name: str) -> OptionSpec:
    """The option a person means by `name`, by any of its names. Raises: InvalidOption with the nearest known name."""
    folded = name[: 2 * _MAX_NAME].casefold().replace("-", "_")
    for spec in specs:
        if folded == spec.name or folded in spec.aliases:
            return spec
    near = find_nearest(folded, _names(specs), cutoff=0.5)
    allowed, nearest = ", ".join(spec.name for spec in specs), near[0] if near else ""
    raise InvalidOption(clean_excerpt(name, 40), "unknown", allowed=allowed, nearest=nearest)


def _names(specs: Iterable[OptionSpec]) -> list[str]:
    return [name for spec in specs for name in (spec.name, *spec.aliases)]


def parse_options(specs: Sequence[OptionSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check named values. None, and an empty text where there are choices, mean "not given". Missing required options
    are refused; defaults are not filled in.

    Raises: InvalidOption.
    """
    read: dict[str, Any] = {}
    for written, value in values.items():
        spec = find_spec(specs, written)
        if spec.name in read:
            raise InvalidOption(written, "twice")
        if value is None:
            continue
        parsed = spec.parse(value, written)
        if parsed != "" or not spec.choices:
            read[spec.name] = parsed
    for spec in specs:
        if spec.is_required and spec.name not in read:
            raise InvalidOption(spec.name, "missing")
    return read


_FLAG = re.compile(r"(?<!\S)(?:--|\u2014|\u2013)([A-Za-z][^\s=]*)(?:\s*=\s*|\s+|$)")
_QUOTED = re.compile(r"\"([^\"]*)\"(?!\S)|'([^']*)'(?!\S)|\u201c([^\u201d]*)\u201d(?!\S)")
_WORD = re.compile(r"\S*")
_MULTI_WORD = ("prompt", "negative_prompt", "question", "texts", "region", "detail", "x", "y", "z")
"""Options that take all words up to the next flag; others take one."""


def parse_text(specs: Sequence[OptionSpec], line: str) -> dict[str, Any]:
    """Options from a typed line: text and `--name value` in any order; quotes hold a value together.

    A dash that phones turn into a long one counts as `--`. `--size 128x96` and `--aspect 3:2` are options like others.
    Raises: InvalidOption.
    """
    check_bytes("text", line, MAX_LINE)
    line = _read_pairs(specs, line)
    values: dict[str, Any] = {}
    words: list[str] = []
    at = 0
    while (flag := _FLAG.search(line, at)) is not None:
        words.append(line[at : flag.start()])
        name = flag.group(1)
        spec = find_spec(specs, name)
        value, at = _parse_value(spec, line, flag.end())
        if spec.name in values:
            raise InvalidOption(name, "twice")
        if value == "" and spec.kind is not bool:
            raise InvalidOption(name, "no_value", allowed=spec.allowed)
        values[spec.name] = spec.parse(value, name)
    words.append(line[at:])
    if text := " ".join(part.strip() for part in words if part.strip()):
        values |= _parse_main(specs, text, values)
    return parse_options(specs, values)


def _read_pairs(specs: Sequence[OptionSpec], line: str) -> str:
    """`region:the hat prompt:a crown`, as clients show slash commands, as a line with flags. Any other stays as it is:
    all of it must be pairs, and the main option one of them."""
    names = "|".join(re.escape(name) for name in _names(specs))
    pair = re.compile(rf"(?<!\S)({names}):(?=\S)", re.IGNORECASE)
    written = {name.casefold() for name in pair.findall(line)}
    main = next((spec for spec in specs if spec.is_main), None)
    if main is None or len(written) < 2 or not written & {main.name, *main.aliases} or not pair.match(line):
        return line
    return pair.sub(r"--\1 ", line)


def find_flag(line: str, at: int = 0) -> tuple[str, int, int] | None:
    """The next flag's name, where it begins, and where its value does."""
    flag = _FLAG.search(line, at)
    return (flag.group(1), flag.start(), flag.end()) if flag is not None else None


def skip_quoted(line: str, at: int) -> int:
    """The position after a value in quotes; where none begins, `at`."""
    quoted = _QUOTED.match(line, at)
    return quoted.end() if quoted is not None else at


def has_flags(line: str) -> bool:
    return _FLAG.search(line) is not None


def pop_flag(line: str, name: str) -> tuple[str, bool]:
    """The line without `--name`, which takes no value, and whether it was there: for what no command's option is."""
    for flag in _FLAG.finditer(line):
        if flag.group(1).casefold() == name:
            rest = (line[: flag.start()].rstrip(), line[flag.end() :].lstrip())
            return " ".join(part for part in rest if part), True
    return line, False


def _parse_main(specs: Sequence[OptionSpec], text: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the text outside of flags is for."""
    main = next((spec for spec in specs if spec.is_main), None)
    if main is None:
        raise InvalidOption("text", "no_text", value=text, allowed=", ".join(_names(specs)))
    if main.name in values:
        raise InvalidOption(main.name, "twice")
    return {main.name: text}


def _parse_value(spec: OptionSpec, line: str, at: int) -> tuple[str, int]:
    """The flag's value, and the position after it."""
    quoted = _QUOTED.match(line, at)
    if quoted is not None:
        return next(value for value in quoted.groups() if value is not None), quoted.end()
    following = _FLAG.search(line, at)
    end = following.start() if following else len(line)
    if spec.name in _MULTI_WORD:
        return line[at:end].strip(), end
    word = _WORD.match(line, at, end)
    assert word is not None  # it matches nothing, too
    if spec.kind is bool and not is_yes_or_no(word.group()):
        return "", at
    return word.group(), word.end()
