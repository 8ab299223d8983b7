"""A second question about the same photo: without another look at it, against looking again."""

from typing import Any

from benchmarks.blip import compared, cpu_s, open_engine, ours, peer, request

QUESTION = "what is on the red background?"
TOKENS = 5


def run(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part = 1 / 16 if quick else 1 / 4
    starter = _measured(0.0, repeats)
    shape = _measured(part, 1 if quick else repeats)
    return {
        "tokens": TOKENS,
        "part_of_depth": part,
        **{f"starter_{name}": value for name, value in starter.items()},
        **{f"opt_{name}": value for name, value in shape.items()},
    }


def _measured(part: float, repeats: int) -> dict[str, float]:
    with open_engine(part) as engine:
        first, second = (request(number, question, TOKENS, 1) for number, question in enumerate(("what?", QUESTION)))
        peer(engine, [first])
        ours(engine, [first])

        def once() -> tuple[float, float]:
            return cpu_s(lambda: ours(engine, [second])), cpu_s(lambda: peer(engine, [second]))

        return compared(once, repeats)


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"a second question of {figures['tokens']} tokens: starter {figures['starter_ours_s']} s against "
        f"{figures['starter_peer_s']} s, {figures['starter_ratio']} times; shape of OPT-2.7B at "
        f"{figures['part_of_depth']} of its depth {figures['opt_ours_s']} against {figures['opt_peer_s']} s, "
        f"{figures['opt_ratio']} times (goal 1.7)"
    )


if __name__ == "__main__":
    print(sentence(run()))
