"""Eight people ask for a caption at the same moment: written together, against one at a time."""

from typing import Any

from benchmarks.blip import compared, cpu_s, open_engine, ours, peer, request

PEOPLE = 8
TOKENS = 20


def run(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part = 1 / 16 if quick else 1 / 4
    starter = _measured(0.0, TOKENS - 8, repeats)
    shape = _measured(part, TOKENS, 1 if quick else repeats)
    return {
        "people": PEOPLE,
        "part_of_depth": part,
        **{f"starter_{name}": value for name, value in starter.items()},
        **{f"opt_{name}": value for name, value in shape.items()},
    }


def _measured(part: float, tokens: int, repeats: int) -> dict[str, float]:
    with open_engine(part) as engine:
        tasks = [request(number, "", tokens, photo=number) for number in range(PEOPLE)]
        peer(engine, tasks[:1])  # warms up
        ours(engine, tasks[:1])

        def once() -> tuple[float, float]:
            engine._looks.kept.clear()
            return cpu_s(lambda: ours(engine, tasks)), cpu_s(lambda: peer(engine, tasks))

        return compared(once, repeats)


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"{figures['people']} captions at once: starter {figures['starter_ours_s']} s against "
        f"{figures['starter_peer_s']} s one at a time, {figures['starter_ratio']} times; shape of OPT-2.7B at "
        f"{figures['part_of_depth']} of its depth {figures['opt_ours_s']} against {figures['opt_peer_s']} s, "
        f"{figures['opt_ratio']} times (goal 2.5)"
    )


if __name__ == "__main__":
    print(sentence(run()))
