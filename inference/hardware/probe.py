"""Asks torch what the hardware has and prints it as JSON: `python -m inference.hardware.probe`.

A short process of its own, so that whoever wants to know need not import torch.
"""

import json
import sys
from typing import Any


def look() -> list[dict[str, Any]]:
    """Every device that torch can compute on, best first: name, kind, title, memory in MiB (0: unknown),
    and whether it computes in bfloat16 by itself.
    """
    import torch

    found: list[dict[str, Any]] = []
    for family in ("cuda", "xpu"):
        backend = getattr(torch, family, None)
        for index in range(backend.device_count() if backend and backend.is_available() else 0):
            found.append(_card(torch, family, index))
    if torch.backends.mps.is_available():
        memory_mb = torch.mps.recommended_max_memory() // 2**20 or _ram_mb()
        found.insert(0, {"name": "mps", "kind": "mps", "title": "Apple GPU", "memory_mb": memory_mb})
    found.append({"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": _ram_mb()})
    return found


def _card(torch: Any, family: str, index: int) -> dict[str, Any]:
    """A card with memory of its own. torch calls AMD's cards cuda too."""
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
    sys.stdout.write(json.dumps(look()))
