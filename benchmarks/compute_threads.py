"""How many threads each side of a benchmark computes with: one, and all cores, unless `BENCH_THREADS` names others.

With one, load on a shared machine changes the figures least; all cores are what people have.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_counts(setting: str | None = None) -> tuple[int, ...]:
    """Of each measurement, ascending. `setting`: numbers and "all", with commas; None: that of the environment."""
    named = setting or os.environ.get("BENCH_THREADS", "1,all")
    return tuple(sorted({CORES if one.strip() in ("all", "0") else int(one) for one in named.split(",")}))


def measure_each(measure: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """The figures with each number of threads."""
    return merge_figures({threads: measure(threads) for threads in thread_counts()})


def merge_figures(by_threads: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """One record: rows name their number of threads; what else differs is kept by it."""
    rows = [{**row, "threads": threads} for threads, figures in by_threads.items() for row in figures.get("rows", ())]
    first, *others = (
        {name: value for name, value in figures.items() if name != "rows"} for figures in by_threads.values()
    )
    same = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    differing = {
        str(threads): {name: value for name, value in figures.items() if name not in same and name != "rows"}
        for threads, figures in by_threads.items()
    }
    return {"rows": rows, "threads": list(by_threads), **same, **({"by_threads": differing} if others else {})}


def work_s(work: Callable[[], object], threads: int) -> float:
    """CPU seconds of one thread, which load on the machine changes less than wall time; wall time of several."""
    clock = clock_for(threads)
    started = clock()
    work()
    return clock() - started


def clock_for(threads: int) -> Callable[[], float]:
    return time.process_time if threads == 1 else time.perf_counter


def unit_for(threads: int) -> str:
    """Of `work_s`."""
    return "CPU s" if threads == 1 else "s"
