"""The machine's devices, memory and disk, to estimate which models fit."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bot.memory.fit import MachineSpec
from bot.memory.weights import has_bitsandbytes, has_torchao
from bot.settings import hub_cache_dir, nearest_existing_dir
from inference.hardware import devices

_MB = 2**20


@dataclass
class MachineProbe:
    """Devices are probed once, which can take a child process seconds; memory and disk on every call."""

    data_dir: Path
    max_loaded_models: int = 4
    _devices: list[devices.DeviceInfo] | None = None

    async def __call__(self) -> MachineSpec:
        """Devices, memory, and the disk of the model cache."""
        if self._devices is None:
            cpu = devices.DeviceInfo(name="cpu", kind="cpu")
            self._devices = [cpu] if devices.has_no_accelerator() else await devices.probe_devices()
        memory = psutil.virtual_memory()
        disk = await asyncio.to_thread(shutil.disk_usage, nearest_existing_dir(hub_cache_dir(), self.data_dir))
        return MachineSpec(
            devices=tuple((device.name, device.kind, device.memory_mb) for device in self._devices),
            ram_mb=int(memory.total // _MB),
            free_ram_mb=int(memory.available // _MB),
            disk_free_mb=int(disk.free // _MB),
            can_quantize=has_torchao(),
            can_use_4bit=has_bitsandbytes(),
            max_loaded_models=self.max_loaded_models,
        )
