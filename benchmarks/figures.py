"""Medians, percentiles, and the comparisons in a benchmark's record."""

import argparse
import inspect
import logging
import signal
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest measured value, without interpolation."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def medians(runs: Sequence[Mapping[str, float]], digits: int = 3) -> dict[str, float]:
    """The median of each figure over all runs."""
    return {name: round(statistics.median(run[name] for run in runs), digits) for name in runs[0]}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison of ours with a peer.

    Attributes:
        what: the measured quantity, with its unit.
        ratio: how many times better ours is; below 1 we lose.
        goal: the target ratio, if any.
        threads: that each side computes with; None: it makes no difference.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    goal: float | None = None
    threads: int | None = None

    @property
    def is_lost(self) -> bool:
        return self.ratio < 1

    @property
    def is_goal_met(self) -> bool:
        return self.goal is None or self.ratio >= self.goal


def compare(
    what: str, ours: float, peer: float, peer_name: str, *, goal: float | None = None, more_is_better: bool = False
) -> Comparison:
    ratio = ours / max(peer, 1e-9) if more_is_better else peer / max(ours, 1e-9)
    return Comparison(
        what=what,
        ours=round(ours, 3),
        peer=round(peer, 3),
        peer_name=peer_name,
        ratio=round(ratio, 2),
        goal=goal,
    )


def record(rows: Sequence[Comparison], **more: Any) -> dict[str, Any]:
    """A benchmark's figures, as `run_benchmark` returns them."""
    return {"rows": [asdict(row) for row in rows], **more}


def summarize_rows(figures: Mapping[str, Any]) -> str:
    """One line per comparison, which states whether we lose or miss a goal."""
    return "\n".join(["", *(_line(Comparison(**row)) for row in figures["rows"])])


def _line(row: Comparison) -> str:
    goal = "" if row.goal is None else f", goal {row.goal:g}: {'met' if row.is_goal_met else 'missed'}"
    lost = " WE LOSE" if row.is_lost else ""
    threads = "" if row.threads is None else f", {row.threads} thread{'s' if row.threads > 1 else ''}"
    return f"  {row.what}{threads}: {row.ours:g}, {row.peer_name} {row.peer:g}, {row.ratio:g} times{goal}{lost}"


def run_cli(run_benchmark: Callable[..., dict[str, Any]], summarize: Callable[[Mapping[str, Any]], str]) -> None:
    """`python -m benchmarks.NAME [--quick]`: prints the result without writing a record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="once, with fewer requests")
    parser.add_argument("--shape", choices=["starter", "medium"], help="the model, if the benchmark has a choice")
    options = {name: value for name, value in vars(parser.parse_args()).items() if value}
    accepted = inspect.signature(run_benchmark).parameters
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so running servers are stopped
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(summarize(run_benchmark(**{name: value for name, value in options.items() if name in accepted})))
