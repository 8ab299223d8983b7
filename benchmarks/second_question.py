"""A second question about the same photo: without another look at it, against looking again."""

from typing import Any

from benchmarks import figures
from benchmarks.blip import called, compared, cpu_s, open_engine, ours, peer, request, shape_format
from benchmarks.figures import Row, compare

QUESTION = "what is on the red background?"
TOKENS = 5
GOAL = 1.7
sentence = figures.told


def run(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    rows = [_row(0.0, repeats), _row(part, times)]
    return figures.record(rows, tokens=TOKENS, part_of_depth=part, format=shape_format(), repeats=times)


def _row(part: float, repeats: int) -> Row:
    with open_engine(part) as engine:
        first, second = (request(number, question, TOKENS, 1) for number, question in enumerate(("what?", QUESTION)))
        peer(engine, [first])
        ours(engine, [first])

        def once() -> tuple[float, float]:
            return cpu_s(lambda: ours(engine, [second])), cpu_s(lambda: peer(engine, [second]))

        mine, theirs = compared(once, repeats)
    what = f"{called(part)}: an answer of {TOKENS} tokens, processor s"
    return compare(what, mine, theirs, "stock generate", goal=GOAL if part else None)


if __name__ == "__main__":
    figures.main(run, sentence)
