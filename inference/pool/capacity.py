"""How many more tasks a device can run, and of which models. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from bot.models import ModelSpec
from bot.ports import KEPT_FREE, Offer
from inference.settings import PoolSettings


@dataclass(frozen=True, kw_only=True)
class DeviceCapacity:
    """A device's models and tasks.

    Attributes:
        models: the models it can run, by name.
        tasks: number of tasks that run or are reserved, by model.
        loaded: the models that are loaded.
        slots: number of tasks a model runs concurrently; 1 until the model has reported its capabilities.
        is_exclusive: it runs a task that must be alone.
    """

    settings: PoolSettings
    models: Mapping[str, ModelSpec]
    tasks: Counter[str] = field(default_factory=Counter)
    loaded: frozenset[str] = frozenset()
    slots: Mapping[str, int] = field(default_factory=dict)
    is_exclusive: bool = False

    def with_reserved(self, names: Iterable[str]) -> "DeviceCapacity":
        return replace(self, tasks=self.tasks + Counter(names))

    @property
    def free_slots(self) -> int:
        """Number of further tasks, of any model. None while a model loads, because that blocks all other tasks."""
        is_loading = any(count and name not in self.loaded for name, count in self.tasks.items())
        return 0 if self.is_exclusive or is_loading else max(0, self.settings.max_tasks - self.tasks.total())

    def slots_for(self, model: ModelSpec) -> int:
        """Number of further tasks of this model."""
        if not self.can_load(model):
            return 0
        return max(0, min(self.free_slots, self.slots.get(model.name, 1) - self.tasks[model.name]))

    @property
    def spare_models(self) -> frozenset[str]:
        """Loaded models of which more than `KEPT_FREE` tasks fit."""
        models = (self.models[name] for name in self.loaded if name in self.models)
        return frozenset(model.name for model in models if self.slots_for(model) > KEPT_FREE)

    def can_load(self, model: ModelSpec) -> bool:
        """Whether the model fits beside those in use; models that are not in use can be evicted for it."""
        in_use = {name for name, count in self.tasks.items() if count}
        if not in_use or model.name in self.loaded | in_use:
            return True
        memory_mb = model.memory_mb + sum(self.models[name].memory_mb for name in in_use if name in self.models)
        limit_mb = self.settings.loaded_models_mb
        return len(in_use) < self.settings.max_loaded_models and (not limit_mb or memory_mb <= limit_mb)

    def to_offer(self, device: str, offered: Set[str], since_load_s: float) -> Offer | None:
        """For these models; None: it can run no further task of them."""
        names = frozenset(name for name in offered if self.slots_for(self.models[name]))
        deferred = frozenset(name for name in offered if not self.can_load(self.models[name]))
        if not names:
            return None
        return Offer(
            device=device,
            models=names,
            loaded=names & self.loaded,
            spare=names & self.spare_models,
            full=frozenset(self.models) - names - deferred,
            deferred=deferred,
            free_slots=self.free_slots,
            is_idle=not self.tasks.total(),
            since_load_s=since_load_s,
        )
