"""Reads settings in layers, and secrets. It knows no section by name: the composition root maps tables to
dataclasses. The child processes need only the places, so the reading of files is imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bot.settings.places import (
    find_data_dir,
    hub_cache_dir,
    hub_repo_dir,
    make_data_dir,
    nearest_existing_dir,
    settings_files,
)

if TYPE_CHECKING:
    from bot.settings.layers import RenamedSetting, log_renamed_settings, read_settings
    from bot.settings.secrets import SECRETS, SECRETS_FILE, Secrets, read_secrets, write_secrets

__all__ = [
    "SECRETS",
    "SECRETS_FILE",
    "RenamedSetting",
    "Secrets",
    "find_data_dir",
    "hub_cache_dir",
    "hub_repo_dir",
    "log_renamed_settings",
    "make_data_dir",
    "nearest_existing_dir",
    "read_secrets",
    "read_settings",
    "settings_files",
    "write_secrets",
]


def __getattr__(name: str) -> Any:
    for module in ("layers", "secrets"):
        if name in __all__ and hasattr(found := import_module(f"bot.settings.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
