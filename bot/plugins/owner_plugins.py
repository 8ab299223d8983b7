"""Writes into the owner's `config.toml` which plugins are on."""

from dataclasses import dataclass
from pathlib import Path

from bot.settings.overlay import Overlay
from bot.settings.places import FILE_NAME

SECTION = "plugins"


@dataclass(frozen=True)
class PluginConfigFile:
    """Implements `OwnerPluginConfig`."""

    data_dir: Path

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        """Also takes the plugin out of `disabled`, which says the same."""
        overlay = Overlay(self.data_dir / FILE_NAME)
        disabled = overlay.get_value(SECTION, "disabled")
        if isinstance(disabled, list) and name in disabled:
            overlay.set_value(SECTION, "disabled", [one for one in disabled if one != name])
        overlay.set_in_table(SECTION, name, "enabled", is_enabled)
        overlay.save()
