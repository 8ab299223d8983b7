"""Work on texts leaves the event loop free, and ends at its deadline."""

import asyncio
import threading

import pytest

from bot.errors import QueueFull
from bot.runtime.text_worker import TextWorker


async def test_the_event_loop_goes_on_while_the_thread_works():
    released = threading.Event()

    def steps():
        assert released.wait(5)  # only the event loop can set it
        yield "done"

    asyncio.get_running_loop().call_later(0.01, released.set)

    assert await TextWorker().collect(steps()) == ["done"]


async def test_work_ends_at_the_deadline_and_the_person_may_try_again():
    now = 0.0
    made = []

    def steps():
        nonlocal now
        while True:
            now += 1.0
            made.append(now)
            yield now

    with pytest.raises(QueueFull) as refused:
        await TextWorker(deadline_s=3.0, clock=lambda: now).collect(steps())

    assert made == [1.0, 2.0, 3.0]
    assert refused.value.is_global
    assert refused.value.retry_after_s == 3


async def test_work_that_waited_too_long_is_not_begun():
    now = 0.0
    released = threading.Event()
    worker = TextWorker(deadline_s=3.0, clock=lambda: now)

    def slow():
        assert released.wait(5)
        yield

    begun = []

    def never():
        begun.append(True)
        yield

    first = asyncio.create_task(worker.collect(slow()))
    await asyncio.sleep(0)
    second = asyncio.create_task(worker.collect(never()))
    await asyncio.sleep(0)
    now = 4.0
    released.set()

    for waiting in (first, second):
        with pytest.raises(QueueFull):
            await waiting
    assert not begun


async def test_light_work_is_done_here():
    threads = [threading.current_thread() for _ in range(1)]

    assert await TextWorker().collect((threading.current_thread() for _ in range(1)), is_light=True) == threads


async def test_an_error_of_the_work_is_raised():
    def steps():
        yield 1
        raise LookupError

    with pytest.raises(LookupError):
        await TextWorker().collect(steps())


async def test_people_take_turns_however_many_requests_one_of_them_has():
    worker, order = TextWorker(), []

    def steps(owner):
        order.append(owner)
        yield

    flood = [asyncio.create_task(worker.collect(steps("ann"), owner="ann")) for _ in range(20)]
    await asyncio.sleep(0)
    await worker.collect(steps("bob"), owner="bob")
    await asyncio.gather(*flood)

    assert order.index("bob") <= 2


async def test_a_turn_that_does_not_come_by_the_deadline_is_refused():
    released = threading.Event()
    worker = TextWorker(deadline_s=0.05)

    def slow():
        released.wait(5)
        yield

    first = asyncio.create_task(worker.collect(slow(), owner="ann"))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await worker.collect(iter(()), owner="bob")
    released.set()

    with pytest.raises(QueueFull):
        await first
