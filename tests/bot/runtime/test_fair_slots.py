"""Slots are shared: by owner, in turn, and never all by one."""

import asyncio
from contextlib import suppress

import pytest

from bot.runtime.fair_slots import FairSlots


class Requests:
    """Requests that hold a slot until they are finished; `started` lists them in order."""

    def __init__(self, slots: FairSlots) -> None:
        self._slots = slots
        self.started: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def add(self, *names: str) -> None:
        """A name is its owner's and a number: "ann1"."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._run(name))
        await _settle()

    async def finish(self, name: str) -> None:
        self._ends[name].set()
        await _settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self._tasks[name]
        await _settle()

    async def _run(self, name: str) -> None:
        async with self._slots.hold(name.rstrip("0123456789")):
            self.started.append(name)
            await self._ends[name].wait()


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def requests():
    return Requests(FairSlots(size=2, per_owner=1))


async def test_one_owner_never_holds_all_slots(requests):
    await requests.add(*(f"ann{n}" for n in range(16)), "bob1")

    assert requests.started == ["ann0", "bob1"]


async def test_a_free_slot_goes_to_the_owners_in_turn(requests):
    await requests.add("ann1", "bob1", "ann2", "ann3", "bob2", "carol1", "dave1")
    for name in ("ann1", "bob1", "ann2", "carol1", "dave1"):
        await requests.finish(name)

    assert requests.started == ["ann1", "bob1", "ann2", "bob2", "carol1", "dave1", "ann3"]


async def test_an_owner_who_holds_fewer_slots_goes_first():
    requests = Requests(FairSlots(size=3, per_owner=2))
    await requests.add("ann1", "ann2", "bob1", "bob2", "carol1")
    await requests.finish("ann1")

    assert requests.started[-1] == "carol1"


async def test_a_cancelled_request_gives_its_slot_and_its_turn_back(requests):
    await requests.add("ann1", "bob1", "ann2", "carol1")
    await requests.cancel("ann1")
    await requests.cancel("carol1")
    await requests.finish("bob1")
    await requests.add("dave1")

    assert requests.started == ["ann1", "bob1", "ann2", "dave1"]


async def test_a_request_cancelled_in_the_moment_of_its_turn_leaves_the_slot_free():
    slots = FairSlots(size=1, per_owner=1)
    requests = Requests(slots)
    async with slots.hold("ann"):
        await requests.add("ann1")
    await requests.cancel("ann1")
    await requests.add("bob1")

    assert requests.started == ["bob1"]
