"""Time to the first preview or image, at 0.8 of a lock's capacity: `python -m benchmarks.first_preview [--quick]`."""

from typing import Any

from benchmarks import figures, peers, workload
from benchmarks.arena import Arena, measure_alone
from benchmarks.figures import compare
from benchmarks.ours import NAME

LOAD = 0.8
GOALS = {peers.LOCK.name: 12.0, peers.LITSERVE_BATCH.name: 6.0}
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return measure_alone(measure, quick=quick, shape=shape)


async def measure(arena: Arena, quick: bool) -> dict[str, Any]:
    count, repeats = (12, 1) if quick else (40, 3)
    rate = LOAD * await arena.lock_capacity(count // 2)
    results = await arena.run_alternating(
        lambda seed: workload.with_poisson_arrivals(
            workload.with_previews(workload.chat_mix(count, seed, arena.shape.size)), rate, seed
        ),
        repeats,
    )
    rows = []
    for what, share in (("p95", 0.95), ("p50", 0.5)):
        first_s = {
            name: figures.percentile([run.first_output_percentile(share) for run in runs], 0.5)
            for name, runs in results.items()
        }
        rows += [
            compare(
                f"time to first preview or image, {what}, s",
                first_s[NAME],
                first_s[peer.name],
                peer.name,
                goal=GOALS.get(peer.name) if what == "p95" else None,
            )
            for peer in arena.peers
        ]
    return figures.record(rows, load=LOAD, per_s=round(rate, 3), requests=count, repeats=repeats)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
