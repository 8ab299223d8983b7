"""The owner's choice of models, in the settings file of the data directory; and what a stop broke off, beside it."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.models import Arrival, Models, ModelSpec
from bot.ports import OnTheWay
from bot.settings.overlay import Overlay
from bot.settings.places import FILE_NAME

ON_THE_WAY = "arriving.json"


@dataclass(frozen=True)
class OwnersChoices:
    """Implements `bot.ports.Choices`. `shipped`: reads the shipped settings of each model, by name."""

    data_dir: Path
    shipped: Callable[[], Mapping[str, ModelSpec]]

    @property
    def path(self) -> Path:
        return self.data_dir / FILE_NAME

    def choose(self, name: str, table: Mapping[str, Any], tasks: Sequence[str]) -> None:
        overlay = Overlay(self.path)
        own: list[str] = []
        for other, values in overlay.models().items():
            had = values.get("default_for", [])
            left = [task for task in had if task not in tasks]
            if other == name:
                own = left
            elif left != had:
                overlay.set_model(other, {"default_for": left})
        overlay.set_model(name, {**table, "default_for": [*tasks, *own]})
        overlay.save()

    def forget(self, name: str) -> None:
        overlay = Overlay(self.path)
        overlay.remove_model(name)
        overlay.save()

    def preset(self, name: str) -> ModelSpec | None:
        return self.shipped().get(name)

    # ------------------------------------------------------------ what is under way

    def on_the_way(self) -> Sequence[OnTheWay]:
        return [OnTheWay(name, tuple(tasks)) for name, tasks in self._noted().items()]

    def expect(self, models: Models) -> None:
        """Before anything works: jobs that wait for a model on its way go on waiting."""
        for broken in self.on_the_way():
            spec = models.find(broken.name)
            if spec is None:
                self.note_on_the_way(broken.name, None)
            elif models.get(broken.name) is None:
                models.put(replace(spec, enabled=True, default_for=()))
                models.arrives(broken.name, Arrival(stage="downloading"))

    def note_on_the_way(self, name: str, tasks: Sequence[str] | None) -> None:
        noted = self._noted()
        if tasks is not None:
            noted[name] = list(tasks)
        elif noted.pop(name, None) is None:
            return
        path = self.data_dir / ON_THE_WAY
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(noted), encoding="utf-8")
        os.replace(fresh, path)

    def _noted(self) -> dict[str, list[str]]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.data_dir / ON_THE_WAY).read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return {
                    str(name): [str(task) for task in tasks] for name, tasks in found.items() if isinstance(tasks, list)
                }
        return {}
