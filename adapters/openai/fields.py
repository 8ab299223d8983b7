"""The fields of a request body: those that are read are checked, and all others are reported as ignored."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bot.errors import InvalidOption
from bot.options import OptionSpec

IGNORED_HEADER = "x-easel-ignored"
_MAX_NAMED, _MAX_NAME = 20, 40
_UNPRINTABLE = re.compile(r"[^\w.\[\]-]+", re.ASCII)


class Fields:
    """A field that is null was not given."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._read: set[str] = set()
        self._ignored: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Any:
        """As it was sent; None: it was not given."""
        self._read.add(name)
        return self._values.get(name)

    def read(self, spec: OptionSpec) -> Any:
        """None: it was not given. Raises: InvalidOption."""
        value = self.get(spec.name)
        return None if value is None else spec.parse(value, spec.name)

    def require(self, spec: OptionSpec) -> Any:
        """Raises: InvalidOption: also if it was not given."""
        value = self.read(spec)
        if value is None:
            raise InvalidOption(spec.name, "missing")
        return value

    def take(self, names: Collection[str]) -> dict[str, Any]:
        """All of these that were given, as they were sent."""
        return {name: self.get(name) for name in names if name in self._values}

    def ignore(self, name: str) -> None:
        """Report it, although it was read."""
        if name not in self._ignored:
            self._ignored.append(name)

    @property
    def headers(self) -> dict[str, str]:
        """Of the response: the names of fields that changed nothing."""
        unread = [name for name in self._values if name not in self._read]
        return ignored_header([*unread, *self._ignored])


def ignored_header(names: Iterable[str]) -> dict[str, str]:
    shown = [_UNPRINTABLE.sub("?", name[:_MAX_NAME]) for name in names][:_MAX_NAMED]
    return {IGNORED_HEADER: ", ".join(shown)} if shown else {}
