"""Decides what more a device takes beside what it has. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bot.models import ModelSpec
from inference.settings import PoolSettings


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a device has.

    Attributes:
        models: those it may run, by name.
        tasks: how many tasks of each model it runs, or was promised.
        rows: how many tasks of a model it takes at once; 1 while it has not described itself.
        is_closed: a task must be alone there.
    """

    settings: PoolSettings
    models: Mapping[str, ModelSpec]
    tasks: Counter[str] = field(default_factory=Counter)
    warm: frozenset[str] = frozenset()
    rows: Mapping[str, int] = field(default_factory=dict)
    is_closed: bool = False

    def with_promised(self, names: Iterable[str]) -> "Room":
        return replace(self, tasks=self.tasks + Counter(names))

    @property
    def free(self) -> int:
        """How many more tasks in all. While a model loads, nothing else moves, so it is better queued elsewhere."""
        is_loading = any(count and name not in self.warm for name, count in self.tasks.items())
        return 0 if self.is_closed or is_loading else max(0, self.settings.max_tasks - self.tasks.total())

    def of(self, model: ModelSpec) -> int:
        """How many more tasks of this model it takes now."""
        if not self.may_load(model):
            return 0
        return max(0, min(self.free, self.rows.get(model.name, 1) - self.tasks[model.name]))

    def may_load(self, model: ModelSpec) -> bool:
        """Whether it holds the model beside those in use; what is not in use can be dropped for it."""
        in_use = {name for name, count in self.tasks.items() if count}
        if not in_use or model.name in self.warm | in_use:
            return True
        memory_mb = model.memory_mb + sum(self.models[name].memory_mb for name in in_use if name in self.models)
        limit_mb = self.settings.warm_memory_mb
        return len(in_use) < self.settings.max_warm and (not limit_mb or memory_mb <= limit_mb)
