"""Eight people ask for a caption at the same moment: written together, against one at a time."""

from typing import Any

from benchmarks import figures
from benchmarks.blip import called, compared, cpu_s, open_engine, ours, peer, request, shape_format
from benchmarks.figures import Row, compare

PEOPLE = 8
TOKENS = {"starter": 12, "shape": 20}
GOAL = 2.5
sentence = figures.told


def run(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    rows = [_row(0.0, TOKENS["starter"], repeats), _row(part, TOKENS["shape"], times)]
    return figures.record(rows, people=PEOPLE, part_of_depth=part, format=shape_format(), repeats=times)


def _row(part: float, tokens: int, repeats: int) -> Row:
    with open_engine(part) as engine:
        tasks = [request(number, "", tokens, photo=number) for number in range(PEOPLE)]
        peer(engine, tasks[:1])  # warms up
        ours(engine, tasks[:1])

        def once() -> tuple[float, float]:
            engine._looks.kept.clear()
            return cpu_s(lambda: ours(engine, tasks)), cpu_s(lambda: peer(engine, tasks))

        mine, theirs = compared(once, repeats)
    what = f"{called(part)}: {PEOPLE} captions of {tokens} tokens, processor s"
    return compare(what, mine, theirs, "one at a time", goal=GOAL if part else None)


if __name__ == "__main__":
    figures.main(run, sentence)
