"""Reads settings in layers, and secrets. Knows no section by name: whoever assembles the house says which dataclass
reads which table.
"""

from bot.settings.layers import read_settings
from bot.settings.places import find_data_dir, hub_cache, hub_folder, make_data_dir, nearest_folder, settings_files
from bot.settings.secrets import SECRETS, SECRETS_FILE, Secrets, read_secrets, write_secrets

__all__ = [
    "SECRETS",
    "SECRETS_FILE",
    "Secrets",
    "find_data_dir",
    "hub_cache",
    "hub_folder",
    "make_data_dir",
    "nearest_folder",
    "read_secrets",
    "read_settings",
    "settings_files",
    "write_secrets",
]
