"""A burst of requests holds no press and no short command; what one person asks stays in order."""

import asyncio
from typing import ClassVar

import pytest

from adapters.telegram import admission
from adapters.telegram.admission import Admission, is_request
from tests.fakes import eventually


def message(sender, text=None, **more):
    return {"message": {"from": {"id": sender}, **({} if text is None else {"text": text}), **more}}


PRESS = {"callback_query": {"from": {"id": 999}}}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (message(1, "/imagine a fox"), True),
        (message(1, "/Imagine@easel_bot a fox"), True),
        (message(1, "draw me a fox"), True),
        (message(1, photo=[]), True),
        (message(1), True),
        (message(1, "/queue"), False),
        (message(1, "/help@easel_bot imagine"), False),
        (message(1, "/imagine a fox", media_group_id="7"), False),
        (PRESS, False),
        ({"my_chat_member": {}}, False),
    ],
)
def test_presses_and_short_commands_need_no_slot(raw, expected):
    assert is_request(raw) is expected


@pytest.fixture
def run(monkeypatch):
    """Starts updates; `run.started` are their names in order, and each goes on until `run.go_on` is set."""
    monkeypatch.setattr(admission, "STARTING_S", 0.05)
    admitted = Admission()

    class Run:
        started: ClassVar[list[str]] = []
        tasks: ClassVar[list[asyncio.Task[None]]] = []
        go_on = asyncio.Event()

        def __call__(self, raw, name):
            async def handle():
                self.started.append(name)
                await self.go_on.wait()

            self.tasks.append(asyncio.create_task(admitted.run(raw, handle)))

    return Run()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_burst_holds_neither_a_press_nor_a_short_command(run):
    for person in range(50):
        run(message(person, "/imagine a fox"), person)
    run(PRESS, "press")
    run(message(777, "/queue"), "queue")
    await settle()

    assert len(run.started) == admission.MAX_STARTING + 2
    assert {"press", "queue"} <= set(run.started)
    run.go_on.set()
    await asyncio.gather(*run.tasks)


async def test_what_one_person_asks_stays_in_order(run):
    run.go_on.set()
    for number in range(20):
        run(message(1, "/imagine a fox" if number % 3 else "/queue"), number)
    await asyncio.gather(*run.tasks)

    assert run.started == list(range(20))


async def test_requests_that_take_long_hold_the_others_of_nobody(run):
    for number in range(20):
        run(message(1, photo=[number]), number)
    run(message(2, "/imagine a fox"), "fox")
    await settle()
    assert run.started == [0, 1, "fox"]

    await eventually(lambda: len(run.started) > 5)

    run.go_on.set()
    await asyncio.gather(*run.tasks)


async def test_what_is_cancelled_while_it_waits_never_starts(run):
    for number in range(3):
        run(message(1, "/imagine a fox"), number)
    await settle()
    for task in run.tasks:
        task.cancel()
    await asyncio.gather(*run.tasks, return_exceptions=True)

    assert run.started == [0, 1]
    run(message(1, "/queue"), "queue")
    await settle()
    assert run.started[-1] == "queue"
    run.go_on.set()
    await run.tasks[-1]
