"""Medians, percentiles, and the rows that a benchmark's record shows."""

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
    """The nearest of the values themselves, without interpolation."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def medians(runs: Sequence[Mapping[str, float]], digits: int = 3) -> dict[str, float]:
    """The median of each figure over all runs."""
    return {name: round(statistics.median(run[name] for run in runs), digits) for name in runs[0]}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison of ours with a peer.

    Attributes:
        what: the measured thing, with its unit.
        ratio: how many times better ours is; below 1 we lose.
        goal: the ratio we aim at; None: none was set.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    goal: float | None = None

    @property
    def is_lost(self) -> bool:
        return self.ratio < 1

    @property
    def is_met(self) -> bool:
        return self.goal is None or self.ratio >= self.goal


def compare(
    what: str, ours: float, peer: float, peer_name: str, *, goal: float | None = None, more_is_better: bool = False
) -> Row:
    ratio = ours / max(peer, 1e-9) if more_is_better else peer / max(ours, 1e-9)
    return Row(
        what=what,
        ours=round(ours, 3),
        peer=round(peer, 3),
        peer_name=peer_name,
        ratio=round(ratio, 2),
        goal=goal,
    )


def record(rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    """A benchmark's figures, as `run` returns them."""
    return {"rows": [asdict(row) for row in rows], **more}


def told(figures: Mapping[str, Any]) -> str:
    """The rows as lines for people; where we lose and which goals are missed is said in each."""
    return "\n".join(["", *(_line(Row(**row)) for row in figures["rows"])])


def _line(row: Row) -> str:
    goal = "" if row.goal is None else f", goal {row.goal:g}: {'met' if row.is_met else 'missed'}"
    lost = " WE LOSE" if row.is_lost else ""
    return f"  {row.what}: {row.ours:g}, {row.peer_name} {row.peer:g}, {row.ratio:g} times{goal}{lost}"


def main(run: Callable[..., dict[str, Any]], sentence: Callable[[Mapping[str, Any]], str]) -> None:
    """`python -m benchmarks.NAME [--quick]`: measures and says what came out; nothing is written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="once, with fewer requests")
    parser.add_argument("--shape", choices=["starter", "medium"], help="the model, where there is a choice")
    chosen = {name: value for name, value in vars(parser.parse_args()).items() if value}
    known = inspect.signature(run).parameters
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers under way are stopped, too
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(sentence(run(**{name: value for name, value in chosen.items() if name in known})))
