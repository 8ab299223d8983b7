"""Prints the devices that torch finds, as JSON: `python -m inference.hardware.probe`.

A short-lived process of its own, because the parent must not import torch.
"""

import json
import sys
from typing import Any


def list_devices() -> list[dict[str, Any]]:
    """Every device that torch can use, the best first: name, kind, title, memory in MiB (0: unknown), and whether it
    supports bfloat16 natively.
    """
    import torch

    devices: list[dict[str, Any]] = []
    for family in ("cuda", "xpu"):
        backend = getattr(torch, family, None)
        for index in range(backend.device_count() if backend and backend.is_available() else 0):
            devices.append(_describe_gpu(torch, family, index))
    if torch.backends.mps.is_available():
        memory_mb = torch.mps.recommended_max_memory() // 2**20 or _ram_mb()
        devices.insert(0, {"name": "mps", "kind": "mps", "title": "Apple GPU", "memory_mb": memory_mb})
    cpu = {"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": _ram_mb(), "bfloat16": has_bfloat16(torch)}
    devices.append(cpu)
    return devices


def has_bfloat16(torch: Any) -> bool:
    """Whether the processor has instructions for bfloat16 (AVX-512 BF16 or AMX); others emulate it."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(getattr(torch, "cpu", None), name, lambda: False)() for name in names)


def _describe_gpu(torch: Any, family: str, index: int) -> dict[str, Any]:
    """A card with its own memory. torch calls AMD's cards "cuda" as well."""
    properties = getattr(torch, family).get_device_properties(index)
    is_amd = family == "cuda" and bool(torch.version.hip)
    return {
        "name": f"{family}:{index}",
        "kind": "rocm" if is_amd else family,
        "title": properties.name,
        "memory_mb": properties.total_memory // 2**20,
        "bfloat16": family != "cuda" or is_amd or properties.major >= 8,
    }


def _ram_mb() -> int:
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total // 2**20)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list_devices()))
