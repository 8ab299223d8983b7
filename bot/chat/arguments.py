"""The options of chat commands: declared once, given by name or typed in a line, and written in examples."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bot.errors import InvalidOption
from bot.options import MAX_PROMPT, OptionSpec, check_bytes, clean_excerpt, find_nearest


class OptionKind(StrEnum):
    TEXT = "text"
    FLAG = "flag"
    """Typed without a value: `--confirm`."""
    YES_NO = "yes_no"
    """Typed with its value: `--edit-others yes`."""
    NUMBER = "number"
    """A whole number from 1, typed by name: `--page 2`."""


class Suggestion(StrEnum):
    """What a platform may suggest while people type a value."""

    JOB = "job"
    OPEN_JOB = "open_job"
    MODEL = "model"
    """Every known model, installed or not."""
    ADMIN_ACTION = "admin_action"


@dataclass(frozen=True, kw_only=True)
class ChatOption:
    """One option of a chat command.

    Attributes:
        takes_rest: in a typed line it takes all the words that are left.
        is_named: in a typed line it is given by its name only, `--weights 8bit`.
        choices: the only values there are; `aliases` are other spellings of them.
        maximum: of a number.
    """

    name: str
    help: str
    kind: OptionKind = OptionKind.TEXT
    takes_rest: bool = False
    is_named: bool = False
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    suggests: Suggestion | None = None
    maximum: int | None = None

    @property
    def flag(self) -> str:
        """How it is typed, without its dashes."""
        return self.name.replace("_", "-")

    def parse(self, value: Any) -> Any:
        """Raises: InvalidOption."""
        if self.kind is OptionKind.NUMBER:
            spec = OptionSpec(name=self.name, kind=int, help=self.help, minimum=1, maximum=self.maximum)
            return spec.parse(value, self.flag)
        if self.kind is not OptionKind.TEXT:
            return value if isinstance(value, bool) else _parse_bool(self.flag, str(value))
        check_bytes(self.flag, str(value), MAX_PROMPT)
        text = str(value).strip()
        if not text or not self.choices:
            return text
        choice = self.aliases.get(text.casefold(), text.casefold())
        if choice in self.choices:
            return choice
        raise unknown_choice(self.name, text, self.choices)


_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def _parse_bool(name: str, word: str) -> bool:
    check_bytes(name, word, MAX_PROMPT)
    if word.casefold() not in _BOOLEANS:
        raise InvalidOption(name, "choice", value=word, allowed="yes, no")
    return _BOOLEANS[word.casefold()]


def unknown_choice(option: str, value: str, known: Sequence[str]) -> InvalidOption:
    """The refusal of a value, with the most similar choice."""
    near = find_nearest(value.casefold(), known)
    shown = clean_excerpt(value, 60)
    return InvalidOption(option, "choice", value=shown, allowed=", ".join(known), nearest=near[0] if near else "")


def check_arguments(options: Sequence[ChatOption], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given, each as its option's kind. Raises: InvalidOption."""
    known = {option.name: option for option in options}
    for name in values:
        if name not in known:
            raise InvalidOption(clean_excerpt(name, 40), "unknown", allowed=", ".join(known))
    given = {name: known[name].parse(value) for name, value in values.items() if value is not None}
    return {name: value for name, value in given.items() if value != ""}


# ---------------------------------------------------------------- typed lines

_FLAG = re.compile(r"(?:--|\u2014|\u2013)([A-Za-z][\w-]*)(?:=(.*))?")
_PAIR = re.compile(r"(?:--|\u2014|\u2013)?([^=:]*)[=:]?(.*)", re.DOTALL)


def parse_arguments(options: Sequence[ChatOption], line: str) -> dict[str, Any]:
    """The options in a typed line, not yet checked: flags by name, the other words by position.

    A flag that no option has counts as words, and `name=value` as two: `/settings --steps=30` is `/settings steps 30`.
    Phones turn two dashes into a long one. Words that no option takes are ignored.
    """
    flags = {option.flag: option for option in options}
    values: dict[str, Any] = {}
    words: deque[str] = deque()
    parts = deque(line.split())
    while parts:
        part = parts.popleft()
        match = _FLAG.fullmatch(part)
        option = flags.get(match.group(1).casefold().replace("_", "-")) if match else None
        if match is None or option is None:
            words.append(part)
        elif option.kind is OptionKind.FLAG:
            values[option.name] = match.group(2) or True
        else:
            values[option.name] = match.group(2) or (parts.popleft() if parts else "")
    return values | _assign_words([one for one in options if one.name not in values], words)


def _assign_words(options: Sequence[ChatOption], words: deque[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for option in options:
        if option.kind is not OptionKind.TEXT or option.is_named or not words:
            continue
        if option.takes_rest:
            rest = " ".join(words)
            values[option.name] = rest.lstrip("=: ") if values else rest
            words.clear()
            continue
        pair = _PAIR.fullmatch(words.popleft())
        assert pair is not None  # it matches everything
        values[option.name] = pair.group(1)
        if pair.group(2):
            words.appendleft(pair.group(2))
    return values


# ---------------------------------------------------------------- examples


@dataclass(frozen=True)
class CommandStyle:
    """How a platform's people write a command: `/settings steps 30`, or `/settings option:steps value:30`."""

    names_options: bool

    def write(self, command: str, options: Mapping[str, str] | None = None, **flags: str | bool) -> str:
        """A command as an example. `options` go by position in a typed line, `flags` by their name."""
        if self.names_options:
            parts = [f"{name}:{_PICKED.get(value, value)}" for name, value in {**(options or {}), **flags}.items()]
        else:
            parts = list((options or {}).values())
            parts += [_write_flag(name, value) for name, value in flags.items()]
        return " ".join([f"/{command}", *parts])


_PICKED: Mapping[str | bool, str] = {True: "True", "yes": "True", "no": "False"}
"""How platforms show the values of yes-or-no options."""


def _write_flag(name: str, value: str | bool) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag} {value}"


TYPED = CommandStyle(names_options=False)
SLASH = CommandStyle(names_options=True)
