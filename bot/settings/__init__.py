"""Reads settings in layers, and secrets. It knows no section by name: the composition root maps tables to
dataclasses."""

from bot.settings.layers import RenamedSetting, log_renamed_settings, read_settings
from bot.settings.places import (
    find_data_dir,
    hub_cache_dir,
    hub_repo_dir,
    make_data_dir,
    nearest_existing_dir,
    settings_files,
)
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
