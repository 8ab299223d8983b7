"""The highest rate that meets the latency objective: `python -m benchmarks.slo_goodput [--quick]`.

The objective: 95 % of the users get a preview, or the image, within the time an idle plain pipeline needs for 16 steps.
Rates are fractions of the lock server's capacity at full load.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks import figures, peers, workload
from benchmarks.arena import Arena, measure_alone
from benchmarks.figures import compare
from benchmarks.ours import NAME
from benchmarks.stream import Contender, meets_deadline

LOADS = (0.22, 0.33, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2, 2.9)
SHARE, STEPS = 0.95, 16
GUESSES = {NAME: 1.7}
GUESS = 0.33
PEERS = (peers.LOCK, peers.LITSERVE_BATCH)
GOALS = {peers.LOCK.name: 6.0}
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return measure_alone(measure, quick=quick, shape=shape)


async def measure(arena: Arena, quick: bool) -> dict[str, Any]:
    count, repeats = (10, 1) if quick else (96, 3)
    chosen = [peer for peer in PEERS if peer in arena.peers]
    highest: dict[str, list[float]] = {}
    for seed in range(repeats):
        capacity = await arena.lock_capacity(count // 2)
        deadline_s = STEPS * await arena.solo_step_s()
        for name in (NAME, *(peer.name for peer in chosen)):
            start = highest.get(name, [GUESSES.get(name, GUESS)])[-1]
            search = RateSearch(arena, arena.contenders[name], count, seed, capacity, deadline_s)
            highest.setdefault(name, []).append(await search.find_highest_load(max(start, LOADS[0])))
    load = {name: figures.percentile(loads, 0.5) for name, loads in highest.items()}
    rows = [
        compare(
            "highest rate within the deadline, relative to a lock's capacity",
            load[NAME],
            max(load[peer.name], LOADS[0]),
            peer.name,
            goal=GOALS.get(peer.name),
            more_is_better=True,
        )
        for peer in chosen
    ]
    return figures.record(rows, requests=count, loads=highest, deadline_s=round(deadline_s, 3))


@dataclass(frozen=True)
class RateSearch:
    """Finds the highest of `LOADS` at which a contender meets the deadline.

    Attributes:
        capacity: the lock server's, in images per second.
    """

    arena: Arena
    contender: Contender
    count: int
    seed: int
    capacity: float
    deadline_s: float

    async def find_highest_load(self, start: float) -> float:
        """Search from `start` up or down; 0.0 if no load meets the deadline."""
        index = LOADS.index(start)
        if await self._meets_deadline(LOADS[index]):
            while index + 1 < len(LOADS) and await self._meets_deadline(LOADS[index + 1]):
                index += 1
            return LOADS[index]
        while index > 0:
            index -= 1
            if await self._meets_deadline(LOADS[index]):
                return LOADS[index]
        return 0.0

    async def _meets_deadline(self, load: float) -> bool:
        requests = workload.with_previews(workload.chat_mix(self.count, self.seed, self.arena.shape.size))
        stream = workload.with_poisson_arrivals(requests, load * self.capacity, self.seed)
        return await meets_deadline(self.contender, stream, self.deadline_s, SHARE)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
