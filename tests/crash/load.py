"""The load: requests drawn from a seed, in waves, one for each generation."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from bot.jobs import JobState
from tests.crash import records


class Kind(StrEnum):
    GOOD = "good"
    ASK = "ask"
    FAIL = "fail"
    OOM = "oom"
    CRASH = "crash"
    """Kills its worker each time."""
    LOSE_CHILD = "lose-child"
    """Its worker is killed once while it runs."""
    CANCEL_QUEUED = "cancel-queued"
    CANCEL_RUNNING = "cancel-running"


CANCELS = (Kind.CANCEL_QUEUED, Kind.CANCEL_RUNNING)
SHOWN = frozenset({JobState.DELIVERED, JobState.RENDERED})
ENDS = {
    Kind.GOOD: SHOWN,
    Kind.ASK: SHOWN,
    Kind.FAIL: frozenset({JobState.FAILED}),
    Kind.OOM: frozenset({JobState.FAILED}),
    Kind.CRASH: frozenset({JobState.DEAD}),
    Kind.LOSE_CHILD: SHOWN,
    Kind.CANCEL_QUEUED: SHOWN | {JobState.CANCELLED},
    Kind.CANCEL_RUNNING: SHOWN | {JobState.CANCELLED},
}
"""How a job of each kind may end."""

WORDS = {
    Kind.GOOD: "a fox sleep=0.01",
    Kind.ASK: "what is this? sleep=0.01",
    Kind.FAIL: "fail sleep=0.01",
    Kind.OOM: "oom sleep=0.01",
    Kind.CRASH: "crash sleep=0.01",
    Kind.LOSE_CHILD: "a lynx sleep=0.04 steps=8",
    Kind.CANCEL_QUEUED: "a wolf sleep=0.03",
    Kind.CANCEL_RUNNING: "a bear sleep=0.04 steps=30",
}
"""Prompts with instructions to the test engine."""

MIXES = {
    "test": {
        Kind.GOOD: 50,
        Kind.ASK: 10,
        Kind.FAIL: 8,
        Kind.OOM: 4,
        Kind.CRASH: 3,
        Kind.LOSE_CHILD: 3,
        Kind.CANCEL_QUEUED: 10,
        Kind.CANCEL_RUNNING: 8,
    },
    "starter": {Kind.GOOD: 60, Kind.ASK: 20, Kind.LOSE_CHILD: 4, Kind.CANCEL_QUEUED: 8, Kind.CANCEL_RUNNING: 8},
}

CHATS = ("nonces", "plain")
"""A chat server that recognizes nonces, like Discord's, and one that does not, like Telegram's."""
HERE = "web"
"""The platform of jobs that are polled, not delivered."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One request: sent in generation `wave`, and again in each later one that finds it unanswered."""

    key: str
    wave: int
    person: str
    space: str
    platform: str
    kind: Kind
    seed: int

    @property
    def is_delivered(self) -> bool:
        return self.platform != HERE

    def is_cancel(self) -> bool:
        return self.kind in CANCELS


def draw(seed: int, *, waves: int, size: int, engine: str) -> Iterator[Planned]:
    dice = random.Random(f"plan {seed}")
    mix = MIXES[engine]
    for wave in range(waves):
        for number in range(size):
            platform = dice.choice((*CHATS, *CHATS, HERE))
            person = dice.randrange(5)
            yield Planned(
                key=f"test:{wave}:{number}",
                wave=wave,
                person=f"person-{person}",
                space=f"space-{(person + dice.randrange(2)) % 3}",
                platform=platform,
                kind=dice.choices(list(mix), list(mix.values()))[0],
                seed=dice.randrange(6),
            )


def save(plan: Iterator[Planned], folder: Path) -> None:
    for planned in plan:
        records.note(folder / records.PLAN, **asdict(planned))


def load(folder: Path) -> list[Planned]:
    return [Planned(**{**line, "kind": Kind(line["kind"])}) for line in records.read(folder / records.PLAN)]
