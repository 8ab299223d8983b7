"""Eight people ask for a caption at the same moment: batched, against one at a time."""

from contextlib import ExitStack
from typing import Any

from benchmarks import figures
from benchmarks.blip import (
    EIGHT_BIT,
    answer_formats,
    compare_medians,
    formats_not_run,
    make_request,
    model_label,
    open_engine,
    run_ours,
    run_peer,
)
from benchmarks.compute_threads import measure_each, unit_for, work_s
from benchmarks.equal_answers import QUESTIONS, equal_answers
from benchmarks.figures import Comparison, compare

PEOPLE = 8
TOKENS = {"starter": 12, "shape": 20}
GOAL = 2.5
summarize = figures.summarize_rows


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once), in float32
    and, where the processor has them, in bfloat16 and with weights in 8 bits; there the peer stays in float32, in which
    it is quicker. A format has a goal if the starter's answers stay the same in it."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    return measure_each(lambda threads: _measure(part, repeats, times, threads))


def _measure(part: float, repeats: int, times: int, threads: int) -> dict[str, Any]:
    equal = {dtype: equal_answers(dtype) for dtype in answer_formats()}
    rows = [_row(0.0, TOKENS["starter"], repeats, threads)]
    for dtype in answer_formats():
        goal = GOAL if equal[dtype] == QUESTIONS else None
        rows.append(_row(part, TOKENS["shape"], times, threads, dtype, goal))
    return figures.record(
        rows,
        people=PEOPLE,
        part_of_depth=part,
        equal_answers={dtype: f"{count} of {QUESTIONS}" for dtype, count in equal.items()},
        not_run=formats_not_run(),
        repeats=times,
    )


def _row(
    part: float, tokens: int, repeats: int, threads: int, dtype: str = "float32", goal: float | None = None
) -> Comparison:
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(part, threads, dtype))
        peer = stack.enter_context(open_engine(part, threads)) if dtype == EIGHT_BIT else engine
        tasks = [make_request(number, "", tokens, photo=number) for number in range(PEOPLE)]
        run_peer(peer, tasks[:1])  # warms up
        run_ours(engine, tasks[:1])

        def once() -> tuple[float, float]:
            engine._image_encoder.cache.clear()
            return work_s(lambda: run_ours(engine, tasks), threads), work_s(lambda: run_peer(peer, tasks), threads)

        mine, theirs = compare_medians(once, repeats)
    what = f"{model_label(part, dtype)}: {PEOPLE} captions of {tokens} tokens, {unit_for(threads)}"
    return compare(what, mine, theirs, "one at a time", goal=goal)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
