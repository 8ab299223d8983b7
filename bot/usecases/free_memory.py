"""Whether a model can be loaded without unloading another: for work that nobody would wait for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.memory.fit import RAM_SPARE_MB, MachineSpec
from bot.models import ModelRegistry, ModelSpec
from bot.ports import DeviceStatus, Pool

UNKNOWN_MB = 4096
"""Taken for the size of a model without `memory_mb`."""


@dataclass(frozen=True, kw_only=True)
class FreeMemory:
    """`max_loaded_models`, `loaded_models_mb`: what a device keeps loaded, as `[pool]` says."""

    models: ModelRegistry
    pool: Pool
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    max_loaded_models: int = 4
    loaded_models_mb: int = 0

    async def find_devices(self, model: ModelSpec) -> frozenset[str]:
        """Devices that have loaded the model, or have room for it beside what they have loaded."""
        machine = await self.machine_spec()
        statuses = self.pool.device_statuses()
        return frozenset(one.device for one in statuses if model.name in one.loaded or self._fits(model, one, machine))

    def _fits(self, model: ModelSpec, status: DeviceStatus, machine: MachineSpec) -> bool:
        if not status.loaded:
            return True
        loaded_mb = sum(_size_mb(self.models.find(name)) for name in status.loaded)
        needed_mb = _size_mb(model)
        if len(status.loaded) >= self.max_loaded_models:
            return False
        if self.loaded_models_mb and loaded_mb + needed_mb > self.loaded_models_mb:
            return False
        return needed_mb <= _free_mb(status, machine)


def _size_mb(model: ModelSpec | None) -> int:
    if model is None:
        return UNKNOWN_MB
    return model.memory_mb or (0 if model.demo else UNKNOWN_MB)


def _free_mb(status: DeviceStatus, machine: MachineSpec) -> int:
    """Of the device's memory, MiB."""
    own = {name: size for name, kind, size in machine.devices if kind not in ("cpu", "mps")}
    if own.get(status.device):
        return own[status.device] - status.memory_mb
    return machine.free_ram_mb - RAM_SPARE_MB
