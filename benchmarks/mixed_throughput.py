"""Pictures a second when everybody asks at once: `python -m benchmarks.mixed_throughput [--quick]`.

Three mixes on the overhead-bound model, one on the compute-bound one. Where all want the same, batching whole runs is
at its best, and ours has nothing to gain but what it saves beside the steps.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks import arena, figures, peers, workload
from benchmarks.arena import Arena
from benchmarks.figures import Row, compare
from benchmarks.ours import NAME
from benchmarks.shapes import compute_bound
from benchmarks.workload import Wish

Mix = Callable[[int, int, int], Sequence[Wish]]
MIXES: dict[str, Mix] = {
    "all different": workload.all_different,
    "chat": workload.chat,
    "all alike": workload.all_alike,
}
GOAL_OVERHEAD, GOAL_COMPUTE, GOAL_LITSERVE = 1.7, 1.2, 0.95
sentence = figures.told


def run(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return arena.measure_alone(measure, quick=quick, shape=shape)


async def measure(sides: Arena, quick: bool) -> dict[str, Any]:
    """Where the arena is of the overhead-bound model, the other one gets an arena of its own."""
    repeats = 1 if quick else 3
    if sides.shape.is_compute_bound:
        return figures.record(await _rows(sides, ["all different"], 8, repeats), repeats=repeats)
    rows = await _rows(sides, list(MIXES), 12 if quick else 24, repeats)
    if not quick:
        with compute_bound() as shape:
            async with arena.opened(shape, peers.PEERS) as others:
                rows += await _rows(others, ["all different"], 8, repeats)
    return figures.record(rows, repeats=repeats)


async def _rows(sides: Arena, mixes: Sequence[str], number: int, repeats: int) -> list[Row]:
    rows = []
    for name in mixes:
        played = await sides.in_turns(partial(_stream, MIXES[name], number, sides.shape.size), repeats)
        rate = {side: figures.percentile([one.per_s for one in runs], 0.5) for side, runs in played.items()}
        what = f"{sides.shape.name}, {name}, pictures a second"
        rows += [_row(what, rate, peer.name, sides.shape.is_compute_bound) for peer in peers.PEERS]
    return rows


def _stream(mix: Mix, number: int, size: int, seed: int) -> Sequence[Wish]:
    return mix(number, seed, size)


def _row(what: str, rate: dict[str, float], peer: str, is_compute_bound: bool) -> Row:
    goal = GOAL_COMPUTE if is_compute_bound else GOAL_OVERHEAD
    if peer.startswith("LitServe"):
        goal = GOAL_LITSERVE
    has_goal = peer != peers.THREADS.name and not (peer == peers.LOCK.name and "all alike" in what)
    return compare(what, rate[NAME], rate[peer], peer, goal=goal if has_goal else None, more_is_better=True)


if __name__ == "__main__":
    figures.main(run, sentence)
