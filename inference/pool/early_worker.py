"""A worker process that starts before the pool does, and imports the engine's libraries while the server starts.

Only where it is known without a probe that the worker's device is the CPU: such a worker gives up its rights before
anything is imported.
"""

from collections.abc import Sequence
from typing import Self

from inference.hardware.devices import has_no_accelerator
from inference.ipc.process import ChildProcess
from inference.settings import PoolSettings

WORKER = "inference.worker"
CPU = "cpu"


def is_cpu_only(use: str | Sequence[str]) -> bool:
    """Whether the setting `devices.use` means the CPU alone on this machine."""
    return has_no_accelerator() if use == "auto" else use == CPU or tuple(use) == (CPU,)


class EarlyWorker:
    """Of the CPU, until the pool takes it. Create it with `start`, and `close` it."""

    def __init__(self, child: ChildProcess) -> None:
        self._child: ChildProcess | None = child

    @classmethod
    async def start(cls, settings: PoolSettings, module: str) -> Self:
        """`module`: what it imports. Raises: OSError."""
        arguments = (str(settings.nice), module)
        return cls(await ChildProcess.start(CPU, WORKER, *arguments, threads=settings.threads))

    def take(self, device: str) -> ChildProcess | None:
        """The process, for the device's first start; None: it is not for this device, or was taken."""
        if device != CPU:
            return None
        child, self._child = self._child, None
        return child

    async def close(self) -> None:
        """End the process unless it was taken."""
        if self._child is not None:
            await self._child.close()
