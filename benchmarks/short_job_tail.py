"""What jobs of four steps wait among longer ones, at 0.95 of what a lock can do.

`python -m benchmarks.short_job_tail [--quick]`. The long ones pay for it: their tail is told, too.
"""

from typing import Any

from benchmarks import arena, figures, peers, workload
from benchmarks.arena import Arena
from benchmarks.figures import Row, compare
from benchmarks.ours import NAME
from benchmarks.stream import Played

LOAD = 0.95
GOALS = {peers.LOCK.name: 10.0, peers.LITSERVE_ONE.name: 3.0, peers.LITSERVE_BATCH.name: 3.0}
FIGURES = {
    "4-step jobs, p95, s": lambda played: played.short(0.95),
    "4-step jobs, p50, s": lambda played: played.short(0.5),
    "longer jobs, p95, s": lambda played: played.long(0.95),
    "all jobs, p95, s": lambda played: played.done(0.95),
}
_MAIN = next(iter(FIGURES))
sentence = figures.told


def run(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return arena.measure_alone(measure, quick=quick, shape=shape)


async def measure(sides: Arena, quick: bool) -> dict[str, Any]:
    number, repeats = (12, 1) if quick else (60, 3)
    rate = LOAD * await sides.capacity(number // 2)
    played = await sides.in_turns(
        lambda seed: workload.poisson(workload.chat(number, seed, sides.shape.size), rate, seed), repeats
    )
    rows = [row for what in FIGURES for row in _rows(what, played)]
    return figures.record(rows, load=LOAD, per_s=round(rate, 3), wishes=number, repeats=repeats)


def _rows(what: str, played: dict[str, list[Played]]) -> list[Row]:
    taken = {name: figures.percentile([FIGURES[what](one) for one in runs], 0.5) for name, runs in played.items()}
    return [
        compare(what, taken[NAME], taken[peer.name], peer.name, goal=GOALS.get(peer.name) if what == _MAIN else None)
        for peer in peers.PEERS
    ]


if __name__ == "__main__":
    figures.main(run, sentence)
