"""Image workers that are started on demand and shared fairly between the people whose images they process."""

import asyncio
from dataclasses import dataclass
from typing import Any

from bot.runtime.fair_slots import FairSlots
from inference.ipc import messages
from inference.ipc.process import ChildProcess

_START_TIMEOUT_S = 60.0
_SIGXCPU = 24


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """What one child may use. `memory_mb`: address space, MiB; `timeout_s`: seconds per image. `may_start_threads`: its
    decoder cannot do without. `has_tools`: it runs image tools, which use numpy."""

    memory_mb: int
    timeout_s: float
    nice: int = 0
    may_start_threads: bool = False
    has_tools: bool = False


class ChildLost(Exception):
    """The child exited or did not answer. `is_timeout`: it exceeded its time limit."""

    def __init__(self, reason: str, *, is_timeout: bool) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout


class ImageChildren:
    """At most `size` children, `per_owner` of them for one owner. One that breaks is replaced for the next image."""

    def __init__(self, limits: ChildLimits, size: int, per_owner: int) -> None:
        self._limits = limits
        self._slots = FairSlots(size, per_owner)
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()

    async def close(self) -> None:
        await asyncio.gather(*(child.close() for child in self._all))
        self._all.clear()
        self._idle.clear()

    async def request(self, request: Any, owner: str = "") -> Any:
        """The reply to a request. Raises: ChildLost; the error that the child answers with."""
        async with self._slots.hold(owner):
            child = self._idle.pop() if self._idle else await self._start_child()
            try:
                child.send(request)
                reply = await self._receive_reply(child, self._limits.timeout_s)
            except BaseException:
                # Also when we are cancelled: the next request would receive its answer.
                await self._discard_child(child)
                raise
            self._idle.append(child)
        if isinstance(reply, messages.PackedError):
            raise messages.unpack_error(reply)
        return reply

    async def _receive_reply(self, child: ChildProcess, within_s: float) -> Any:
        """The child's next message. Raises: ChildLost."""
        try:
            async with asyncio.timeout(within_s):
                reply = await child.receive()
        except TimeoutError:
            raise ChildLost("no answer in time", is_timeout=True) from None
        except messages.ProtocolError as error:
            raise ChildLost(f"it broke the protocol: {error}", is_timeout=False) from error
        if reply is None:
            status = await child.close()
            raise ChildLost(f"exit status {status}", is_timeout=status == -_SIGXCPU)
        return reply

    async def _start_child(self) -> ChildProcess:
        limits = self._limits
        cpu_s = max(1, round(limits.timeout_s))
        arguments = [str(limits.memory_mb), str(cpu_s), str(limits.nice)]
        arguments += ["threads"] if limits.may_start_threads else []
        arguments += ["tools"] if limits.has_tools else []
        try:
            child = await ChildProcess.start("images", "inference.images.worker", *arguments, threads=1)
        except OSError as error:
            raise ChildLost(f"it did not start: {error}", is_timeout=False) from error
        self._all.add(child)
        try:
            await self._receive_reply(child, _START_TIMEOUT_S)
        except BaseException:
            await self._discard_child(child)
            raise
        return child

    async def _discard_child(self, child: ChildProcess) -> None:
        self._all.discard(child)
        child.kill()
        await asyncio.shield(child.close())
