"""Settings of plugins: `[plugins]`, and `[plugins.NAME]` with what each plugin knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from bot.options import find_nearest

ENABLED, TIME_LIMIT = "enabled", "time_limit_s"
"""Settings that every plugin has; a plugin may have another default for its time limit."""


@dataclass(frozen=True, kw_only=True)
class PluginsSettings:
    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {"time_limit_s": (0.05, 600)}

    has_tables: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Of `[plugins.NAME]`, by name; an instance has its own."""

    order: tuple[str, ...] = ()
    """Plugins in the order in which they are called; the others follow, by name."""
    disabled: tuple[str, ...] = ()
    """Plugins that are off."""
    time_limit_s: float = 5.0
    """How long a hook may take, seconds."""

    def with_tables(self, tables: Mapping[str, Mapping[str, Any]]) -> "PluginsSettings":
        made = replace(self)
        object.__setattr__(made, "tables", dict(tables))
        return made

    def is_enabled(self, name: str) -> bool:
        return name not in self.disabled and self.tables.get(name, {}).get(ENABLED, True) is not False

    def rank(self, name: str) -> tuple[int, str]:
        """Sorts names into the order in which they are called."""
        return (self.order.index(name) if name in self.order else len(self.order)), name


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """Of one plugin. `problem`: why they cannot be used, as a sentence."""

    values: Mapping[str, Any] = field(default_factory=dict)
    time_limit_s: float = 5.0
    problem: str = ""


def read_own_settings(name: str, defaults: Mapping[str, Any], settings: PluginsSettings) -> OwnSettings:
    """The plugin's settings, with its defaults for what is not set."""
    known = {ENABLED: True, TIME_LIMIT: settings.time_limit_s, **defaults}
    given = settings.tables.get(name, {})
    for key, value in given.items():
        if key not in known:
            near = find_nearest(key, known)
            hint = f" Did you mean {near[0]}?" if near else ""
            return OwnSettings(problem=f"plugins.{name} has no key {key}.{hint} Known: {', '.join(known)}.")
        if not _is_like(known[key], value):
            return OwnSettings(problem=f"plugins.{name}.{key} must be {_describe(known[key])}.")
    merged = {**known, **given}
    limit = merged[TIME_LIMIT]
    low, high = PluginsSettings.bounds[TIME_LIMIT]
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not (low or 0) <= limit <= (high or limit):
        return OwnSettings(problem=f"plugins.{name}.{TIME_LIMIT} must be a number from {low:g} to {high:g}.")
    own = {key: value for key, value in merged.items() if key not in (ENABLED, TIME_LIMIT)}
    return OwnSettings(values=own, time_limit_s=float(limit))


def _is_like(default: Any, value: Any) -> bool:
    """Whether the value is of the default's kind; a whole number is a number, and no default fits everything."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple | list):
        return isinstance(value, tuple | list)
    return isinstance(value, type(default))


def _describe(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a table"}
    return kinds.get(type(default), "a list")
