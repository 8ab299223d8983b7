"""A second question about the same photo: with cached image features, against encoding the photo again."""

from typing import Any

from benchmarks import figures
from benchmarks.blip import (
    compare_medians,
    formats_not_run,
    make_request,
    model_label,
    number_formats,
    open_engine,
    run_ours,
    run_peer,
)
from benchmarks.compute_threads import measure_each, unit_for, work_s
from benchmarks.figures import Comparison, compare

QUESTION = "what is on the red background?"
TOKENS = 5
GOAL = 1.7
summarize = figures.summarize_rows


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once), in float32
    and, where the processor has it, in bfloat16."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    return measure_each(lambda threads: _measure(part, repeats, times, threads))


def _measure(part: float, repeats: int, times: int, threads: int) -> dict[str, Any]:
    rows = [_row(0.0, repeats, threads), *(_row(part, times, threads, dtype) for dtype in number_formats())]
    return figures.record(rows, tokens=TOKENS, part_of_depth=part, not_run=formats_not_run(), repeats=times)


def _row(part: float, repeats: int, threads: int, dtype: str = "float32") -> Comparison:
    with open_engine(part, threads, dtype) as engine:
        first, second = (
            make_request(number, question, TOKENS, 1) for number, question in enumerate(("what?", QUESTION))
        )
        run_peer(engine, [first])
        run_ours(engine, [first])

        def once() -> tuple[float, float]:
            ours_s = work_s(lambda: run_ours(engine, [second]), threads)
            return ours_s, work_s(lambda: run_peer(engine, [second]), threads)

        mine, theirs = compare_medians(once, repeats)
    what = f"{model_label(part, dtype)}: an answer of {TOKENS} tokens, {unit_for(threads)}"
    return compare(what, mine, theirs, "stock generate", goal=GOAL if part else None)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
