"""A second question about the same photo: with cached image features, against encoding the photo again."""

from typing import Any

from benchmarks import figures
from benchmarks.blip import (
    compare_medians,
    cpu_s,
    fastest_dtype,
    make_request,
    model_label,
    open_engine,
    run_ours,
    run_peer,
)
from benchmarks.figures import Comparison, compare

QUESTION = "what is on the red background?"
TOKENS = 5
GOAL = 1.7
summarize = figures.summarize_rows


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    rows = [_row(0.0, repeats), _row(part, times)]
    return figures.record(rows, tokens=TOKENS, part_of_depth=part, format=fastest_dtype(), repeats=times)


def _row(part: float, repeats: int) -> Comparison:
    with open_engine(part) as engine:
        first, second = (
            make_request(number, question, TOKENS, 1) for number, question in enumerate(("what?", QUESTION))
        )
        run_peer(engine, [first])
        run_ours(engine, [first])

        def once() -> tuple[float, float]:
            return cpu_s(lambda: run_ours(engine, [second])), cpu_s(lambda: run_peer(engine, [second]))

        mine, theirs = compare_medians(once, repeats)
    what = f"{model_label(part)}: an answer of {TOKENS} tokens, CPU s"
    return compare(what, mine, theirs, "stock generate", goal=GOAL if part else None)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
