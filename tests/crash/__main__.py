"""`python -m tests.crash --rounds 50`: round after round, each printed, and a closing table."""

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.crash.harness import Round

ENGINES = {"test": ("test",), "starter": ("starter",), "both": ("test", "starter")}
KINDS = {
    "lost": ("lost", "key", "unfinished", "undelivered"),
    "duplicates": ("duplicate", "rerun", "stray"),
    "ledger mismatches": ("ledger", "counter", "audit"),
}


def main() -> int:
    options = _parse()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    rounds: list[Round] = []
    for engine in ENGINES[options.engine]:
        for one in _rounds(engine, options.rounds, options.kills, seed):
            folder = Path(tempfile.mkdtemp(prefix="easel-crash-"))
            one.run(folder)
            print(_line(one, folder), flush=True)
            if one.verdict.is_sound:
                shutil.rmtree(folder)
            rounds.append(one)
    _print_table(rounds)
    return 0 if all(one.verdict.is_sound for one in rounds) else 1


def _rounds(engine: str, number: int, kills: int, seed: int) -> Iterator[Round]:
    for index in range(number):
        if engine == "test":
            yield Round(seed=seed + index, kills=kills or 4)
        else:
            yield Round(
                seed=seed + index,
                kills=kills or 2,
                engine=engine,
                wave=6,
                loaded_when="run",
                open_s=10,
                idle_timeout_s=300,
            )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="with each engine; each with its own data directory")
    parser.add_argument(
        "--kills", type=int, default=0, help="in each round; 4 with the test engine, 2 with the real ones"
    )
    parser.add_argument("--engine", choices=ENGINES, default="both")
    parser.add_argument("--seed", type=int, help="printed when not given")
    return parser.parse_args()


def _line(one: Round, folder: Path) -> str:
    verdict = one.verdict
    moments = "; ".join(generation.moment for generation in one.generations[:-1])
    states = ", ".join(f"{count} {state}" for state, count in sorted(verdict.states.items()))
    line = f"{one.engine} {one.seed}: {one.seconds:.1f} s, {verdict.accepted} accepted: {states}. Killed {moments}."
    return line if verdict.is_sound else f"{line}\nFAULTS, see {folder}:\n{verdict}"


def _print_table(rounds: list[Round]) -> None:
    columns = [
        "engine",
        "rounds",
        "kills",
        "accepted",
        "delivered",
        *KINDS,
        "other faults",
        "repeats",
        "children gone in",
        "seconds",
    ]
    print("\n" + " | ".join(columns))
    for engine in dict.fromkeys(one.engine for one in rounds):
        print(" | ".join(str(figure) for figure in _figures(engine, [one for one in rounds if one.engine == engine])))


def _figures(engine: str, rounds: list[Round]) -> list[object]:
    verdicts = [one.verdict for one in rounds]
    faults = [(kind, len(found)) for verdict in verdicts for kind, found in verdict.faults.items()]
    named = {kind for kinds in KINDS.values() for kind in kinds}
    return [
        engine,
        len(rounds),
        sum(len(one.generations) - 1 for one in rounds),
        sum(verdict.accepted for verdict in verdicts),
        sum(verdict.delivered for verdict in verdicts),
        *(sum(number for kind, number in faults if kind in kinds) for kinds in KINDS.values()),
        sum(number for kind, number in faults if kind not in named),
        sum(verdict.repeats for verdict in verdicts),
        f"{max(generation.gone_s or 0.0 for one in rounds for generation in one.generations):.1f} s",
        round(sum(one.seconds for one in rounds)),
    ]


if __name__ == "__main__":
    sys.exit(main())
