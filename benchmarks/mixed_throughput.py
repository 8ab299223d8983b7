"""Images per second with all requests at the same time: `python -m benchmarks.mixed_throughput [--quick]`.

Three mixes on the overhead-bound model, one on the compute-bound one. Identical requests are the best case for batching
per request; ours can then only gain outside the steps.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks import figures, peers, workload
from benchmarks.arena import Arena, measure_alone, open_arena
from benchmarks.figures import Comparison, compare
from benchmarks.ours import NAME
from benchmarks.shapes import compute_bound_shape
from benchmarks.workload import ImageRequest

Mix = Callable[[int, int, int], Sequence[ImageRequest]]
MIXES: dict[str, Mix] = {
    "all different": workload.all_different,
    "chat": workload.chat_mix,
    "all alike": workload.all_identical,
}
GOAL_OVERHEAD, GOAL_COMPUTE, GOAL_LITSERVE = 1.7, 1.2, 0.95
"""With one thread; of those with several, nobody else's figure is to be better than ours."""
GOAL_ALL_CORES, GOAL_NOT_WORSE = 3.0, 1.0
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return measure_alone(measure, quick=quick, shape=shape)


async def measure(arena: Arena, quick: bool) -> dict[str, Any]:
    """Measure in `arena`; if it has the overhead-bound model, also measure the compute-bound one in a second arena."""
    repeats = 1 if quick else 3
    if arena.shape.is_compute_bound:
        return figures.record(await _compare_mixes(arena, ["all different"], 8, repeats), repeats=repeats)
    rows = await _compare_mixes(arena, list(MIXES), 12 if quick else 24, repeats)
    if not quick:
        with compute_bound_shape() as shape:
            async with open_arena(shape, arena.peers, arena.threads) as other_arena:
                rows += await _compare_mixes(other_arena, ["all different"], 8, repeats)
    return figures.record(rows, repeats=repeats)


async def _compare_mixes(arena: Arena, mixes: Sequence[str], count: int, repeats: int) -> list[Comparison]:
    rows = []
    for name in mixes:
        make_requests = partial(_make_requests, MIXES[name], count, arena.shape.size)
        results = await arena.run_alternating(make_requests, repeats)
        rate = {
            contender: figures.percentile([run.images_per_s for run in runs], 0.5)
            for contender, runs in results.items()
        }
        what = f"{arena.shape.name}, {name}, images per second"
        rows += [_compare_rates(what, rate, peer.name, arena) for peer in arena.peers]
    return rows


def _make_requests(mix: Mix, count: int, size: int, seed: int) -> Sequence[ImageRequest]:
    return mix(count, seed, size)


def _compare_rates(what: str, rate: dict[str, float], peer: str, arena: Arena) -> Comparison:
    is_first = "all different" in what
    goal = (
        _goal_with_one_thread(peer, what, arena) if arena.threads == 1 else _goal_with_all_cores(peer, is_first, arena)
    )
    return compare(what, rate[NAME], rate[peer], peer, goal=goal, more_is_better=True)


def _goal_with_one_thread(peer: str, what: str, arena: Arena) -> float | None:
    if peer == peers.THREADS.name or (peer == peers.LOCK.name and "all alike" in what):
        return None
    if peer.startswith("LitServe"):
        return GOAL_LITSERVE
    return GOAL_COMPUTE if arena.shape.is_compute_bound else GOAL_OVERHEAD


def _goal_with_all_cores(peer: str, is_first: bool, arena: Arena) -> float:
    is_main = peer == peers.LOCK.name and is_first and not arena.shape.is_compute_bound
    return GOAL_ALL_CORES if is_main else GOAL_NOT_WORSE


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
