"""The highest rate at which people still see something in time: `python -m benchmarks.slo_goodput [--quick]`.

In time: 95 of 100 see a preview, or the picture, within 16 steps of a plain pipeline that has nothing else to do. Rates
are shares of what the lock can do when it is never idle.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks import arena, figures, peers, workload
from benchmarks.arena import Arena
from benchmarks.figures import compare
from benchmarks.ours import NAME
from benchmarks.stream import Side, play

LOADS = (0.05, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2)
STEPS = 16
GUESSES = {NAME: 1.0}
GUESS = 0.15
PEERS = (peers.LOCK, peers.LITSERVE_BATCH)
GOALS = {peers.LOCK.name: 6.0}
sentence = figures.told


def run(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return arena.measure_alone(measure, quick=quick, shape=shape)


async def measure(sides: Arena, quick: bool) -> dict[str, Any]:
    number, repeats = (10, 1) if quick else (24, 3)
    found: dict[str, list[float]] = {}
    for seed in range(repeats):
        capacity = await sides.capacity(number // 2)
        in_time_s = STEPS * await sides.solo_step_s()
        for name in (NAME, *(peer.name for peer in PEERS)):
            start = found.get(name, [GUESSES.get(name, GUESS)])[-1]
            search = Search(sides, sides.sides[name], number, seed, capacity, in_time_s)
            found.setdefault(name, []).append(await search.best(max(start, LOADS[0])))
    load = {name: figures.percentile(loads, 0.5) for name, loads in found.items()}
    rows = [
        compare(
            "rate in time, of a lock's capacity",
            load[NAME],
            max(load[peer.name], LOADS[0]),
            peer.name,
            goal=GOALS.get(peer.name),
            more_is_better=True,
        )
        for peer in PEERS
    ]
    return figures.record(rows, wishes=number, loads=found, in_time_s=round(in_time_s, 3))


@dataclass(frozen=True)
class Search:
    """For the highest of `LOADS` at which one side is in time. `capacity`: the lock's, pictures a second."""

    sides: Arena
    side: Side
    number: int
    seed: int
    capacity: float
    in_time_s: float

    async def best(self, start: float) -> float:
        """From `start` up or down; 0.0: none was."""
        place = LOADS.index(start)
        if await self._holds(LOADS[place]):
            while place + 1 < len(LOADS) and await self._holds(LOADS[place + 1]):
                place += 1
            return LOADS[place]
        while place > 0:
            place -= 1
            if await self._holds(LOADS[place]):
                return LOADS[place]
        return 0.0

    async def _holds(self, load: float) -> bool:
        wishes = workload.watched(workload.chat(self.number, self.seed, self.sides.shape.size))
        played = await play(self.side, workload.poisson(wishes, load * self.capacity, self.seed))
        return played.first(0.95) <= self.in_time_s


if __name__ == "__main__":
    figures.main(run, sentence)
