"""Latency of four-step jobs among longer ones, at 0.95 of a lock's capacity.

`python -m benchmarks.short_job_tail [--quick]`. The longer jobs pay for it: their tail latency is reported, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import figures, peers, workload
from benchmarks.arena import Arena, measure_alone
from benchmarks.figures import Comparison, compare
from benchmarks.ours import NAME
from benchmarks.peers import Peer
from benchmarks.stream import StreamResult

LOAD = 0.95
GOALS = {peers.LOCK.name: 8.0, peers.LITSERVE_ONE.name: 3.0, peers.LITSERVE_BATCH.name: 3.0}
FIGURES: dict[str, Callable[[StreamResult], float]] = {
    "4-step jobs, p95, s": lambda result: result.short_jobs_percentile(0.95),
    "4-step jobs, p50, s": lambda result: result.short_jobs_percentile(0.5),
    "longer jobs, p95, s": lambda result: result.long_jobs_percentile(0.95),
    "all jobs, p95, s": lambda result: result.total_percentile(0.95),
}
_MAIN = next(iter(FIGURES))
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return measure_alone(measure, quick=quick, shape=shape)


async def measure(arena: Arena, quick: bool) -> dict[str, Any]:
    count, repeats = (12, 1) if quick else (200, 3)
    rate = LOAD * await arena.lock_capacity(count // 2)
    results = await arena.run_alternating(
        lambda seed: workload.with_poisson_arrivals(workload.chat_mix(count, seed, arena.shape.size), rate, seed),
        repeats,
    )
    rows = [row for what in FIGURES for row in _compare_figure(what, results, arena.peers)]
    return figures.record(rows, load=LOAD, per_s=round(rate, 3), requests=count, repeats=repeats)


def _compare_figure(what: str, results: dict[str, list[StreamResult]], arena_peers: Sequence[Peer]) -> list[Comparison]:
    median_s = {name: figures.percentile([FIGURES[what](run) for run in runs], 0.5) for name, runs in results.items()}
    return [
        compare(
            what, median_s[NAME], median_s[peer.name], peer.name, goal=GOALS.get(peer.name) if what == _MAIN else None
        )
        for peer in arena_peers
    ]


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
