"""The owner's model settings in the data directory, and the list of pending installations next to them."""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bot.errors import ConfigError, ModelRefused
from bot.memory.weights import NUMBER_FORMATS
from bot.models import InstallProgress, ModelRegistry, ModelSettings, ModelSpec, related_tasks
from bot.ports import PendingInstall
from bot.settings.overlay import Overlay
from bot.settings.places import FILE_NAME

PENDING_FILE = "arriving.json"


def write_config(write: Callable[[], None]) -> None:
    """Call `write`, which changes the owner's file. Raises: ModelRefused, with the reason if it cannot be written."""
    try:
        write()
    except OSError as error:
        raise ModelRefused("config.toml", "unwritable", detail=error.strerror or str(error)) from error
    except ConfigError as error:
        raise ModelRefused("config.toml", "unwritable", detail=error.problems[0].rstrip(".")) from error


@dataclass(frozen=True)
class ModelConfigFile:
    """Implements `bot.ports.OwnerModelConfig`. `shipped` reads the shipped settings of each model, by name."""

    data_dir: Path
    shipped: Callable[[], Mapping[str, ModelSpec]]

    @property
    def path(self) -> Path:
        return self.data_dir / FILE_NAME

    def enable_model(
        self, name: str, table: Mapping[str, Any], tasks: Sequence[str], *, replaced_demos: Collection[str] = ()
    ) -> None:
        overlay = Overlay(self.path)
        own_tasks: list[str] = []
        for other, values in overlay.model_tables().items():
            before = values.get("default_for", [])
            lost = related_tasks(tasks) if other in replaced_demos else tasks
            remaining = [task for task in before if task not in lost]
            if other == name:
                own_tasks = remaining
            elif remaining != before:
                overlay.set_model(other, {"default_for": remaining})
        overlay.set_model(name, {**table, "default_for": [*tasks, *own_tasks]}, renamed=ModelSettings.renamed)
        overlay.save()

    def set_model(self, name: str, table: Mapping[str, Any]) -> None:
        overlay = Overlay(self.path)
        overlay.set_model(name, table, renamed=ModelSettings.renamed)
        overlay.save()

    def remove_model(self, name: str) -> None:
        overlay = Overlay(self.path)
        overlay.remove_model(name)
        overlay.save()

    def shipped_preset(self, name: str) -> ModelSpec | None:
        return self.shipped().get(name)

    # ------------------------------------------------------------ pending installations

    def pending_installs(self) -> Sequence[PendingInstall]:
        return [
            PendingInstall(name, tuple(map(str, entry["tasks"])), _read_formats(entry.get("settings")))
            for name, entry in self._read_pending().items()
        ]

    def restore_pending(self, models: ModelRegistry) -> None:
        """At startup: register models that are being installed, for which queued jobs keep waiting."""
        for pending in self.pending_installs():
            spec = models.find(pending.name)
            if spec is None:
                self.set_pending_install(pending.name, None)
            elif models.get(pending.name) is None:
                models.add_model(replace(spec, enabled=True, default_for=()))
                models.set_install_progress(pending.name, InstallProgress(stage="downloading"))

    def set_pending_install(
        self, name: str, tasks: Sequence[str] | None, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        pending = self._read_pending()
        if tasks is not None:
            pending[name] = {"tasks": list(tasks), "settings": dict(settings)}
        elif pending.pop(name, None) is None:
            return
        path = self.data_dir / PENDING_FILE
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(pending), encoding="utf-8")
        os.replace(temporary, path)

    def _read_pending(self) -> dict[str, dict[str, Any]]:
        with contextlib.suppress(OSError, ValueError):
            pending = json.loads((self.data_dir / PENDING_FILE).read_text(encoding="utf-8"))
            if isinstance(pending, dict):  # an older version wrote the tasks alone
                entries = {
                    name: entry if isinstance(entry, dict) else {"tasks": entry} for name, entry in pending.items()
                }
                return {name: entry for name, entry in entries.items() if isinstance(entry.get("tasks"), list)}
        return {}


def _read_formats(settings: object) -> dict[str, str]:
    """Of an interrupted installation. The file may be edited: other settings and values are left out."""
    if not isinstance(settings, dict):
        return {}
    return {key: settings[key] for key, allowed in NUMBER_FORMATS.items() if settings.get(key) in allowed}
