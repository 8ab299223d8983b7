"""What a device has done since the server started."""

from dataclasses import dataclass


@dataclass
class DeviceTotals:
    """Of all worker processes of the device.

    Attributes:
        busy_s: time spent on tasks, seconds.
        passes: forward passes; `rows`: images and texts in all of them together.
        loads: models loaded, `load_s` the seconds that took, and `swaps`: those for which another was unloaded.
        out_of_memory, timeouts: tasks that ended so.
        memory_mb: of the device, where it has its own, else of the machine; 0: unknown.
    """

    busy_s: float = 0.0
    passes: int = 0
    rows: int = 0
    loads: int = 0
    load_s: float = 0.0
    swaps: int = 0
    out_of_memory: int = 0
    timeouts: int = 0
    memory_mb: int = 0
