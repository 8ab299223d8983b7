"""What people ask for in the benchmarks of the engines: the same requests, at the same moments, for every side."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

PEOPLE = 12
_THINGS = ("a cat", "a rocket", "a red circle", "a house", "a tree", "a blue star", "a fish", "a car")
_GROUNDS = ("purple", "white", "green", "black", "orange", "cyan")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One picture that somebody asks for, `at_s` seconds after the stream begins; watched ones get previews."""

    number: int
    person: str
    prompt: str
    seed: int
    steps: int
    guidance: float
    sampler: str
    width: int
    height: int
    at_s: float = 0.0
    is_watched: bool = False

    @property
    def is_short(self) -> bool:
        return self.steps <= 4


Kind = tuple[int, float, str]
"""Steps, guidance, sampler."""
CHAT: Sequence[tuple[float, Kind]] = (
    (0.50, (4, 1.0, "euler")),
    (0.15, (8, 1.0, "euler")),
    (0.35, (20, 5.0, "ddim")),
)
"""Shares of the mix "chat": few steps without guidance, as distilled models are asked, and many with it. These models
are not distilled; Euler's steps cost what LCM's would, which the starter's training forbids."""


def chat(number: int, seed: int, size: int) -> list[Wish]:
    """The mix in its exact shares, in random order."""
    kinds: list[Kind] = []
    for share, kind in CHAT:
        kinds += [kind] * round(share * number)
    kinds = (kinds + [CHAT[0][1]] * number)[:number]
    chance = random.Random(seed)
    chance.shuffle(kinds)
    return [_wish(n, kind, chance, size) for n, kind in enumerate(kinds)]


def all_different(number: int, seed: int, size: int) -> list[Wish]:
    """Everybody wants steps and guidance of their own."""
    chance = random.Random(seed)
    kinds = [(4 + n % 17, 2.0 + n % 13 / 2, "ddim") for n in range(number)]
    chance.shuffle(kinds)
    return [_wish(n, kind, chance, size) for n, kind in enumerate(kinds)]


def all_alike(number: int, seed: int, size: int) -> list[Wish]:
    """Everybody wants the same four steps: what batching whole runs is best at."""
    chance = random.Random(seed)
    return [_wish(n, CHAT[0][1], chance, size) for n in range(number)]


def poisson(wishes: Sequence[Wish], per_s: float, seed: int) -> list[Wish]:
    """The wishes at random moments, `per_s` a second on average; twice the rate is the same pattern, twice as quick."""
    chance, now, placed = random.Random(seed), 0.0, []
    for wish in wishes:
        now += chance.expovariate(1.0) / per_s
        placed.append(replace(wish, at_s=now))
    return placed


def watched(wishes: Sequence[Wish]) -> list[Wish]:
    return [replace(wish, is_watched=True) for wish in wishes]


def _wish(number: int, kind: Kind, chance: random.Random, size: int) -> Wish:
    steps, guidance, sampler = kind
    return Wish(
        number=number,
        person=f"person {chance.randrange(PEOPLE)}",
        prompt=f"{chance.choice(_THINGS)} on a {chance.choice(_GROUNDS)} background",
        seed=chance.randrange(2**32),
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        width=size,
        height=size,
    )
