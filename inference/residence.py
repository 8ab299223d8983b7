"""Where a model's weights live: on the device, or waiting in main memory for their turn there."""

from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from bot.errors import OutOfMemory
from bot.models import ModelSpec

RESIDENT, OFFLOAD = "resident", "offload"
_MB = 2**20
SPARE_MB = 600
"""Of a device's memory, for what a step needs beside the weights."""
RAM_SPARE_MB = 500


def choose(need_mb: int, free_mb: int, *, is_accelerator: bool) -> str:
    """Pure. What needs an unknown amount is taken to fit."""
    return OFFLOAD if is_accelerator and free_mb and need_mb + SPARE_MB > free_mb else RESIDENT


def decide(need_mb: int, device: str) -> str:
    """For a model about to be loaded on the device. Raises: OutOfMemory: the machine has too little main memory."""
    available_mb = int(psutil.virtual_memory().available // _MB)
    if need_mb + RAM_SPARE_MB > available_mb:
        need, have = f"{need_mb / 1024:.1f} GiB", f"{available_mb / 1024:.1f} GiB"
        raise OutOfMemory(f"loading it takes {need} of main memory, {have} are free")
    return choose(need_mb, free_mb(device), is_accelerator=device.startswith(("cuda", "xpu")))


def free_mb(device: str) -> int:
    """Free memory of the device, MiB; 0: it has none of its own, or does not say."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0] // _MB)
    if device.startswith("xpu"):
        return int(torch.xpu.mem_get_info(device)[0] // _MB)
    return 0


def needed_mb(model: ModelSpec, folder: Path, dtype: Any) -> int:
    """What its weights take in that format, by what lies on the disk in the format it lies in, MiB."""
    from inference.allowed import variant_of

    weights = [folder] if folder.is_file() else [path for path in folder.rglob("*.safetensors") if path.is_file()]
    wanted = [path for path in weights if variant_of(path.name) == model.variant] or weights
    stored = sum(path.stat().st_size for path in wanted)
    return int(stored * _bytes_of(dtype) / _stored_bytes(wanted) // _MB)


def _bytes_of(dtype: Any) -> int:
    return int(torch.empty((), dtype=dtype).element_size())


def _stored_bytes(paths: list[Path]) -> int:
    """Bytes of one number in the largest file."""
    from safetensors import safe_open

    if not paths:
        return 4
    largest = max(paths, key=lambda path: path.stat().st_size)
    with safe_open(largest, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            kind = str(file.get_slice(name).get_dtype())
            return 2 if kind in ("F16", "BF16") else 1 if kind.startswith(("F8", "I8", "U8")) else 4
    return 4
