"""How long until people see something, at 0.8 of what a lock can do: `python -m benchmarks.first_preview [--quick]`."""

from typing import Any

from benchmarks import arena, figures, peers, workload
from benchmarks.arena import Arena
from benchmarks.figures import compare
from benchmarks.ours import NAME

LOAD = 0.8
GOALS = {peers.LOCK.name: 12.0, peers.LITSERVE_BATCH.name: 6.0}
sentence = figures.told


def run(quick: bool = False, shape: str = "starter") -> dict[str, Any]:
    return arena.measure_alone(measure, quick=quick, shape=shape)


async def measure(sides: Arena, quick: bool) -> dict[str, Any]:
    number, repeats = (12, 1) if quick else (40, 3)
    rate = LOAD * await sides.capacity(number // 2)
    played = await sides.in_turns(
        lambda seed: workload.poisson(workload.watched(workload.chat(number, seed, sides.shape.size)), rate, seed),
        repeats,
    )
    rows = []
    for what, share in (("p95", 0.95), ("p50", 0.5)):
        seen = {name: figures.percentile([one.first(share) for one in runs], 0.5) for name, runs in played.items()}
        rows += [
            compare(
                f"first thing seen, {what}, s",
                seen[NAME],
                seen[peer.name],
                peer.name,
                goal=GOALS.get(peer.name) if what == "p95" else None,
            )
            for peer in peers.PEERS
        ]
    return figures.record(rows, load=LOAD, per_s=round(rate, 3), wishes=number, repeats=repeats)


if __name__ == "__main__":
    figures.main(run, sentence)
