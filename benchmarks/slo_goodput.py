"""The highest rate at which people still see something in time: `python -m benchmarks.slo_goodput [--quick]`.

In time: 95 of 100 see a preview, or the picture, within 16 steps of a plain pipeline that has nothing else to do. Rates
are shares of what the lock can do when it is never idle.
"""

import asyncio
from typing import Any

from benchmarks import arena, figures, peers, workload
from benchmarks.arena import Arena
from benchmarks.figures import compare
from benchmarks.ours import NAME
from benchmarks.shapes import chosen
from benchmarks.stream import Side, play

LOADS = (0.05, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2)
STEPS = 16
GUESSES = {NAME: 1.0}
GUESS = 0.15
PEERS = (peers.LOCK, peers.LITSERVE_BATCH)
GOALS = {peers.LOCK.name: 6.0}
sentence = figures.told


def run(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return asyncio.run(_run(10 if quick else 24, 1 if quick else 3, shape))


async def _run(number: int, repeats: int, shape_name: str) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    with chosen(shape_name) as shape:
        async with arena.opened(shape, PEERS) as sides:
            for seed in range(repeats):
                capacity = await sides.capacity(number // 2)
                in_time_s = STEPS * await sides.solo_step_s()
                for side in sides.sides.values():
                    start = found.get(side.name, [GUESSES.get(side.name, GUESS)])[-1]
                    best = await _best(sides, side, number, seed, capacity, in_time_s, max(start, LOADS[0]))
                    found.setdefault(side.name, []).append(best)
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
    return figures.record(rows, wishes=number, loads=found, in_time_s=round(in_time_s, 3), shape=shape_name)


async def _best(
    sides: Arena, side: Side, number: int, seed: int, capacity: float, in_time_s: float, start: float
) -> float:
    """The highest of `LOADS` in time, from `start` up or down; 0.0: none was."""

    async def holds(load: float) -> bool:
        wishes = workload.chat(number, seed, sides.shape.size)
        played = await play(side, workload.poisson(wishes, load * capacity, seed))
        return played.first(0.95) <= in_time_s

    place = LOADS.index(start)
    if await holds(LOADS[place]):
        while place + 1 < len(LOADS) and await holds(LOADS[place + 1]):
            place += 1
        return LOADS[place]
    while place > 0:
        place -= 1
        if await holds(LOADS[place]):
            return LOADS[place]
    return 0.0


if __name__ == "__main__":
    figures.main(run, sentence)
