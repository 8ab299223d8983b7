"""Asks torch what the hardware has and prints it as JSON: `python -m inference.probe`.

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
    for kind in ("cuda", "xpu"):
        backend = getattr(torch, kind, None)
        for index in range(backend.device_count() if backend and backend.is_available() else 0):
            properties = backend.get_device_properties(index)  # type: ignore[union-attr]
            memory_mb = properties.total_memory // 2**20
            has_bfloat16 = kind != "cuda" or bool(torch.version.hip) or properties.major >= 8
            found.append(
                {
                    "name": f"{kind}:{index}",
                    "kind": kind,
                    "title": properties.name,
                    "memory_mb": memory_mb,
                    "bfloat16": has_bfloat16,
                }
            )
    if torch.backends.mps.is_available():
        found.insert(0, {"name": "mps", "kind": "mps", "title": "Apple GPU", "memory_mb": _ram_mb()})
    found.append({"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": _ram_mb()})
    return found


def _ram_mb() -> int:
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total // 2**20)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look()))
