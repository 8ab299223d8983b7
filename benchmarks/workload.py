"""Requests of the engine benchmarks: the same requests, at the same times, for every contender."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

PEOPLE = 12
_THINGS = ("a cat", "a rocket", "a red circle", "a house", "a tree", "a blue star", "a fish", "a car")
_BACKGROUNDS = ("purple", "white", "green", "black", "orange", "cyan")


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """One requested image, `at_s` seconds after the start of the stream."""

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
    wants_previews: bool = False

    @property
    def is_short(self) -> bool:
        return self.steps <= 4


RequestKind = tuple[int, float, str]
"""Steps, guidance, sampler."""
CHAT_MIX: Sequence[tuple[float, RequestKind]] = (
    (0.50, (4, 1.0, "euler")),
    (0.15, (8, 1.0, "euler")),
    (0.35, (20, 5.0, "ddim")),
)
"""Shares of the mix "chat": few steps without guidance, as for distilled models, and many with guidance. These models
are not distilled; Euler steps cost the same as LCM steps, which the starter's training does not support."""


def chat_mix(count: int, seed: int, size: int) -> list[ImageRequest]:
    """The mix with its exact shares, in random order."""
    kinds: list[RequestKind] = []
    for share, kind in CHAT_MIX:
        kinds += [kind] * round(share * count)
    kinds = (kinds + [CHAT_MIX[0][1]] * count)[:count]
    rng = random.Random(seed)
    rng.shuffle(kinds)
    return [_make_request(n, kind, rng, size) for n, kind in enumerate(kinds)]


def all_different(count: int, seed: int, size: int) -> list[ImageRequest]:
    """Each request has its own steps and guidance."""
    rng = random.Random(seed)
    kinds = [(4 + n % 17, 2.0 + n % 13 / 2, "ddim") for n in range(count)]
    rng.shuffle(kinds)
    return [_make_request(n, kind, rng, size) for n, kind in enumerate(kinds)]


def all_identical(count: int, seed: int, size: int) -> list[ImageRequest]:
    """All requests have the same four steps: the best case for batching per request."""
    rng = random.Random(seed)
    return [_make_request(n, CHAT_MIX[0][1], rng, size) for n in range(count)]


def with_poisson_arrivals(requests: Sequence[ImageRequest], per_s: float, seed: int) -> list[ImageRequest]:
    """Random arrival times, `per_s` a second on average; twice the rate is the same pattern, twice as fast."""
    rng, now, placed = random.Random(seed), 0.0, []
    for request in requests:
        now += rng.expovariate(1.0) / per_s
        placed.append(replace(request, at_s=now))
    return placed


def with_previews(requests: Sequence[ImageRequest]) -> list[ImageRequest]:
    return [replace(request, wants_previews=True) for request in requests]


def _make_request(number: int, kind: RequestKind, rng: random.Random, size: int) -> ImageRequest:
    steps, guidance, sampler = kind
    return ImageRequest(
        number=number,
        person=f"person {rng.randrange(PEOPLE)}",
        prompt=f"{rng.choice(_THINGS)} on a {rng.choice(_BACKGROUNDS)} background",
        seed=rng.randrange(2**32),
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        width=size,
        height=size,
    )
