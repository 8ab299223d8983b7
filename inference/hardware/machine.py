"""What this machine has, for saying which models would fit."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bot.memory.fit import Hardware, can_quantize
from bot.settings import hub_cache, nearest_folder
from inference.hardware import devices

_MB = 2**20


@dataclass
class Machine:
    """Its devices are asked for once, which may take a child process seconds; memory and disk each time."""

    data_dir: Path
    _devices: list[devices.Hardware] | None = None

    async def __call__(self) -> Hardware:
        """Devices, memory, and the disk that models go to."""
        if self._devices is None:
            sure = devices.is_surely_without_accelerator()
            self._devices = [devices.Hardware(name="cpu", kind="cpu")] if sure else await devices.probe()
        memory = psutil.virtual_memory()
        disk = await asyncio.to_thread(shutil.disk_usage, nearest_folder(hub_cache(), self.data_dir))
        return Hardware(
            devices=tuple((device.name, device.kind, device.memory_mb) for device in self._devices),
            ram_mb=int(memory.total // _MB),
            free_ram_mb=int(memory.available // _MB),
            disk_free_mb=int(disk.free // _MB),
            can_quantize=can_quantize(),
        )
