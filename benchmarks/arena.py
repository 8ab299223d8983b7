"""Easel and its peers, all running and measured alternately, so load on the machine affects all of them.

All sides compute with the same number of threads, in an arena for each number (compute_threads.py). On a shared machine
threads that work on the same pass wait for each other at every layer, and a small model becomes many times slower.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from benchmarks import ours, peers, workload
from benchmarks.compute_threads import merge_figures, thread_counts
from benchmarks.figures import percentile
from benchmarks.peers import PEERS, Peer, chosen_peers
from benchmarks.shapes import ModelShape, open_shape
from benchmarks.stream import Contender, StreamResult, run_stream
from benchmarks.workload import ImageRequest

_SOLO_RUNS = 3
_WARM_UP = 12


@dataclass(frozen=True)
class Arena:
    """Warmed-up contenders by name, ours first; each computes with this many threads."""

    shape: ModelShape
    contenders: dict[str, Contender]
    threads: int

    @property
    def peers(self) -> Sequence[Peer]:
        return [peer for peer in PEERS if peer.name in self.contenders]

    async def solo_step_s(self) -> float:
        """Duration of one denoising step with guidance on an idle plain pipeline."""
        [request] = workload.all_different(1, 0, self.shape.size)
        lock = self.contenders[peers.LOCK.name]
        runs = [await run_stream(lock, [request]) for _ in range(_SOLO_RUNS)]
        return percentile([run.seconds / request.steps for run in runs], 0.5)

    async def lock_capacity(self, count: int) -> float:
        """Images per second of the lock server for the mix "chat", with all requests sent at the same time."""
        result = await run_stream(self.contenders[peers.LOCK.name], workload.chat_mix(count, 0, self.shape.size))
        return result.images_per_s

    async def run_alternating(
        self, make_requests: Callable[[int], Sequence[ImageRequest]], repeats: int
    ) -> dict[str, list[StreamResult]]:
        """Each contender runs `make_requests(repeat)`; the order rotates with each repeat."""
        results: dict[str, list[StreamResult]] = {name: [] for name in self.contenders}
        names = list(self.contenders)
        for repeat in range(repeats):
            for index in range(len(names)):
                name = names[(index + repeat) % len(names)]
                results[name].append(await run_stream(self.contenders[name], make_requests(repeat)))
        return results


@asynccontextmanager
async def open_arena(shape: ModelShape, peer_list: Sequence[Peer], threads: int) -> AsyncIterator[Arena]:
    """All contenders running and warmed up by a stream like those measured, from which ours learns its costs."""
    async with AsyncExitStack() as stack:
        sides: list[AbstractAsyncContextManager[Contender]] = [ours.start_pool(shape, threads)]
        sides += [peers.start_peer(peer, shape, threads) for peer in peer_list]
        starting = (stack.enter_async_context(side) for side in sides)
        started = await asyncio.gather(*starting, return_exceptions=True)  # so those that did start are stopped
        for contender in started:
            if isinstance(contender, BaseException):
                raise contender
        contenders: dict[str, Contender] = {one.name: one for one in started if not isinstance(one, BaseException)}
        for contender in contenders.values():
            await run_stream(contender, workload.all_different(_WARM_UP, 0, shape.size))
        yield Arena(shape, contenders, threads)


Measure = Callable[[Arena, bool], Coroutine[Any, Any, dict[str, Any]]]
"""A benchmark over the contenders of an arena; True: quick, once and with fewer requests."""


def measure_all(
    measures: Sequence[Measure], *, quick: bool = False, shape: str = "starter"
) -> Generator[dict[str, Any], None, None]:
    """Yield the figures of each, measured one after another with the same running contenders, with each number of
    threads."""
    with open_shape(shape) as model_shape, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            arenas = [
                runner.run(stack.enter_async_context(open_arena(model_shape, chosen_peers(), threads)))
                for threads in thread_counts()
            ]
            for measure in measures:
                figures = {arena.threads: runner.run(measure(arena, quick)) for arena in arenas}
                yield {**merge_figures(figures), "shape": model_shape.name}
        finally:
            runner.run(stack.aclose())


def measure_alone(measure: Measure, *, quick: bool, shape: str) -> dict[str, Any]:
    with closing(measure_all([measure], quick=quick, shape=shape)) as measured:
        return next(measured)
