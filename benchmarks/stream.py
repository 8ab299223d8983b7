"""Plays a stream of wishes to one side and notes when people see something."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.figures import percentile
from benchmarks.workload import Wish

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Seen:
    """A preview, or the finished file."""

    data: bytes
    is_picture: bool


class Side(Protocol):
    """Ours or a peer, ready to be asked."""

    name: str

    def make(self, wish: Wish) -> AsyncIterator[Seen]: ...


@dataclass(frozen=True)
class Outcome:
    """Seconds from the moment the wish was made. Without a preview the picture is the first thing seen."""

    wish: Wish
    first_s: float
    done_s: float


@dataclass(frozen=True)
class Played:
    outcomes: Sequence[Outcome]
    seconds: float

    @property
    def per_s(self) -> float:
        return len(self.outcomes) / self.seconds

    def done(self, share: float) -> float:
        return percentile([outcome.done_s for outcome in self.outcomes], share)

    def first(self, share: float) -> float:
        return percentile([outcome.first_s for outcome in self.outcomes], share)

    def short(self, share: float) -> float:
        """Of the jobs of four steps alone."""
        return percentile([outcome.done_s for outcome in self.outcomes if outcome.wish.is_short], share)

    def long(self, share: float) -> float:
        return percentile([outcome.done_s for outcome in self.outcomes if not outcome.wish.is_short], share)


async def play(side: Side, wishes: Sequence[Wish]) -> Played:
    """All of them, each at its moment, whether or not the earlier ones have ended."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(_ask(side, wish, began + wish.at_s)) for wish in wishes]
    return Played([task.result() for task in asking], time.perf_counter() - began)


async def _ask(side: Side, wish: Wish, due: float) -> Outcome:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    first_s, file = None, b""
    async for seen in side.make(wish):
        first_s = first_s or time.perf_counter() - due
        if seen.is_picture:
            file = seen.data
    if not file.startswith(PNG) or first_s is None:
        raise RuntimeError(f"{side.name} gave no picture for {wish}")
    return Outcome(wish, first_s, time.perf_counter() - due)
