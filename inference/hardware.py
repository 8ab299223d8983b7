"""What this machine has, for saying which models would fit."""

import asyncio
import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bot.fitting import Hardware
from bot.settings import hub_cache
from inference import devices

_MB = 2**20


async def machine(data_dir: Path, found: list[devices.Hardware] | None = None) -> Hardware:
    """Devices, memory, and the disk that models go to. Without `found`, torch is asked, which takes seconds."""
    if found is None:
        sure = devices.is_surely_without_accelerator()
        found = [devices.Hardware(name="cpu", kind="cpu")] if sure else await devices.probe()
    memory = psutil.virtual_memory()
    free = await asyncio.to_thread(shutil.disk_usage, _nearest(hub_cache(), data_dir))
    return Hardware(
        devices=tuple((device.name, device.kind, device.memory_mb) for device in found),
        ram_mb=int(memory.total // _MB),
        free_ram_mb=int(memory.available // _MB),
        disk_free_mb=int(free.free // _MB),
    )


def _nearest(path: Path, otherwise: Path) -> Path:
    """The nearest folder above that is there."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), otherwise)
