"""Finds the enabled platforms and imports their adapters, each only when it is needed."""

import importlib
from typing import TYPE_CHECKING, Any

from adapters import MOUNTS, PLATFORMS
from bot.errors import StartupError

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig
    from bot.ports import Adapter
    from bot.usecases import AdapterContext


def settings_class(name: str, path: str) -> type:
    """`NameSettings` in the adapter's `settings.py`, which imports no platform library."""
    folder = path.partition(":")[0]
    settings: type = getattr(importlib.import_module(f"{folder}.settings"), f"{name.capitalize()}Settings")
    return settings


def create_adapters(loaded: "LoadedConfig", context: "AdapterContext") -> "list[Adapter]":
    """Create the adapter of each enabled platform, whose library is imported only then."""
    adapters = []
    for name, path in PLATFORMS.items():
        if is_enabled(loaded, name):
            adapter_class = _import_object(path)
            mounts = {"mounts": load_mounts()} if name == "web" else {}
            adapters.append(adapter_class(loaded.settings[name], context, **mounts))
    return adapters


def load_mounts() -> dict[str, Any]:
    """The functions of `MOUNTS`, by path."""
    return {path: _import_object(name) for path, name in MOUNTS.items()}


def _import_object(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def is_enabled(loaded: "LoadedConfig", name: str) -> bool:
    """`enabled = "auto"` enables a platform whose token is set. Raises: StartupError: enabled without a token."""
    settings = loaded.settings[name]
    variable: str = getattr(settings, "secret", "")
    token = loaded.secrets.get(variable) if variable else ""
    if settings.enabled is True and variable and not token:
        raise StartupError(
            f"{name.capitalize()} is enabled, but {variable} is not set: set it, or set {name}.enabled = false."
        )
    return bool(token) if settings.enabled == "auto" else bool(settings.enabled)
