"""Ours and its peers, all up at once and asked in turns, so that a busy machine troubles all alike.

One thread for arithmetic each, unless `THREADS` says otherwise: on a shared machine two threads wait for each other at
every layer, and the small model gets many times slower for everybody.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from benchmarks import ours, peers, workload
from benchmarks.figures import percentile
from benchmarks.peers import PEERS, Peer
from benchmarks.shapes import Shape, chosen
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
        started = await asyncio.gather(*starting, return_exceptions=True)  # those that did start are stopped, too
        for side in started:
            if isinstance(side, BaseException):
                raise side
        sides = {side.name: side for side in started if not isinstance(side, BaseException)}
        for side in sides.values():
            await play(side, workload.chat(3, 0, shape.size))
        yield Arena(shape, sides)


Measure = Callable[[Arena, bool], Awaitable[dict[str, Any]]]
"""A benchmark over the sides of an arena; true: quick, once and with fewer requests."""


def measure_all(
    measures: Sequence[Measure], *, quick: bool = False, shape: str = "starter"
) -> Generator[dict[str, Any], None, None]:
    """The figures of each, one after another, while the sides stay up."""
    with chosen(shape) as found, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        arena = runner.run(stack.enter_async_context(opened(found, PEERS)))
        try:
            for measure in measures:
                yield runner.run(_with_shape(measure, arena, quick))
        finally:
            runner.run(stack.aclose())


def measure_alone(measure: Measure, *, quick: bool, shape: str) -> dict[str, Any]:
    with closing(measure_all([measure], quick=quick, shape=shape)) as measured:
        return next(measured)


async def _with_shape(measure: Measure, arena: Arena, quick: bool) -> dict[str, Any]:
    return {**await measure(arena, quick), "shape": arena.shape.name, "threads": THREADS}
