"""Ours and its peers, all up at once and asked in turns, so that a busy machine troubles all alike.

One thread for arithmetic each, unless `THREADS` says otherwise: on a shared machine two threads wait for each other at
every layer, and the small model gets many times slower for everybody.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks import ours, peers, workload
from benchmarks.figures import percentile
from benchmarks.peers import Peer
from benchmarks.shapes import Shape
from benchmarks.stream import Played, Side, play
from benchmarks.workload import Wish

THREADS = int(os.environ.get("BENCH_THREADS", "1"))
_PROBES = 3


@dataclass(frozen=True)
class Arena:
    """Warm sides by name, ours first."""

    shape: Shape
    sides: dict[str, Side]

    async def solo_step_s(self) -> float:
        """One denoising step with guidance of a plain pipeline that has nothing else to do."""
        [wish] = workload.all_different(1, 0, self.shape.size)
        taken = [(await play(self.sides[peers.LOCK.name], [wish])).seconds / wish.steps for _ in range(_PROBES)]
        return percentile(taken, 0.5)

    async def capacity(self, number: int) -> float:
        """Pictures a second that the lock makes of the mix "chat" when all ask at once."""
        played = await play(self.sides[peers.LOCK.name], workload.chat(number, 0, self.shape.size))
        return played.per_s

    async def in_turns(self, stream: Callable[[int], Sequence[Wish]], repeats: int) -> dict[str, list[Played]]:
        """Each side plays `stream(repeat)`; who begins changes with each repeat."""
        played: dict[str, list[Played]] = {name: [] for name in self.sides}
        names = list(self.sides)
        for repeat in range(repeats):
            for place in range(len(names)):
                name = names[(place + repeat) % len(names)]
                played[name].append(await play(self.sides[name], stream(repeat)))
        return played


@asynccontextmanager
async def opened(shape: Shape, others: Sequence[Peer]) -> AsyncIterator[Arena]:
    """All up and warm: each has made a short and a long picture."""
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(ours.running(shape, THREADS))]
        starting += [stack.enter_async_context(peers.running(peer, shape, THREADS)) for peer in others]
        sides = {side.name: side for side in await asyncio.gather(*starting)}
        for side in sides.values():
            await play(side, workload.chat(3, 0, shape.size))
        yield Arena(shape, sides)
