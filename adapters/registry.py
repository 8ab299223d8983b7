"""Which platforms are switched on, and what of each is imported when."""

import importlib
from typing import TYPE_CHECKING, Any

from adapters import PLATFORMS
from bot.errors import StartupError

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded
    from bot.ports import Adapter
    from bot.usecases import Surroundings


def platform_settings(name: str, path: str) -> type:
    """`NameSettings` in the adapter's `settings.py`, which imports no platform library."""
    folder = path.partition(":")[0]
    found: type = getattr(importlib.import_module(f"{folder}.settings"), f"{name.capitalize()}Settings")
    return found


def adapters_of(loaded: "Loaded", surroundings: "Surroundings") -> "list[Adapter]":
    """Every platform that is switched on; its library is imported only then."""
    chosen = []
    for name, path in PLATFORMS.items():
        if is_on(loaded, name):
            module, _, attribute = path.partition(":")
            kind: Any = getattr(importlib.import_module(module), attribute)
            chosen.append(kind(loaded.settings[name], surroundings))
    return chosen


def is_on(loaded: "Loaded", name: str) -> bool:
    """`enabled = "auto"` is on when the platform's token is set. Raises: StartupError when it is on without one."""
    settings = loaded.settings[name]
    variable: str = getattr(settings, "secret", "")
    token = loaded.secrets.of(variable) if variable else ""
    if settings.enabled is True and variable and not token:
        raise StartupError(f"{name.capitalize()} is switched on, but {variable} is not set: set it, or switch it off.")
    return bool(token) if settings.enabled == "auto" else bool(settings.enabled)
