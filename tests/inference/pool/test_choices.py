"""Tasks whose images wait until the parent says which of them go on, in real child processes."""

import asyncio
import contextlib

import pytest

from bot.errors import JobCancelled
from bot.ports import Candidates, TaskOutput
from tests.inference.support import collect, finish, make_model, make_task, open_pool, wait_until

pytestmark = [pytest.mark.usefixtures("forked_workers")]

MODEL = make_model("choosing", repo="slots=4")


def open_choosing_pool(**settings):
    return open_pool([MODEL], engine_factory="tests.inference.choosing_engine:build", **settings)


def choosing(**changes):
    return make_task("choose", model=MODEL, options={"count": 8, "best": 8, "steps": 1}, **changes)


async def run_and_choose(pool, task, kept, meanwhile=None):
    asked, output = [], None
    async with contextlib.aclosing(pool.run_task(task)) as events:
        async for event in events:
            if isinstance(event, Candidates):
                asked.append(event)
                if meanwhile is not None:
                    await meanwhile()
                pool.keep_rows(task.id, event.step, kept)
            if isinstance(event, TaskOutput):
                output = event
    return asked, output


async def test_those_that_were_chosen_are_finished_with_their_indexes_and_seeds():
    async with open_choosing_pool() as pool:
        asked, output = await run_and_choose(pool, choosing(), [1, 6])

    assert [(one.step, one.kept, len(one.images)) for one in asked] == [(1, 2, 8)]
    assert [(image.index, image.seed) for image in output.images] == [(1, 8), (6, 13)]


async def test_others_run_meanwhile_and_nobody_takes_the_wait_for_a_hang():
    others = []

    async def run_others():
        others.append(await finish(pool, make_task("steps=2", id="other", model=MODEL)))
        await asyncio.sleep(0.5)

    async with open_choosing_pool(step_timeout_s=0.2, job_timeout_s=30.0) as pool:
        asked, output = await run_and_choose(pool, choosing(), [0, 1], run_others)
        restarts = pool.device_statuses()[0].restarts

    assert len(others[0].images) == 1
    assert (len(asked), len(output.images), restarts) == (1, 2, 0)
    assert output.seconds < 0.4, "waiting is no device time"


async def test_a_part_joins_a_task_that_has_its_device_alone():
    parts = []

    async def run_part():
        parts.append(await finish(pool, make_task(id="job.rank0", model=MODEL, beside="job", is_part=True)))

    async with open_choosing_pool() as pool:
        _, output = await run_and_choose(pool, choosing(is_exclusive=True), [2, 3], run_part)

    assert len(parts[0].images) == 1
    assert [image.index for image in output.images] == [2, 3]


async def test_a_task_that_waits_can_be_cancelled():
    async with open_choosing_pool() as pool:
        running = asyncio.create_task(collect(pool, choosing()))
        await wait_until(lambda: pool._devices and pool._devices[0]._running)
        await wait_until(lambda: next(iter(pool._devices[0]._running.values())).awaits_since is not None)
        pool.cancel_task("job")
        with pytest.raises(JobCancelled):
            await running
        output = await finish(pool, make_task(id="next", model=MODEL))

    assert output.images


async def test_an_answer_about_a_task_that_does_not_wait_is_ignored():
    async with open_choosing_pool() as pool:
        pool.keep_rows("nobody", 1, [0])
        output = await finish(pool, make_task(model=MODEL))

    assert output.images
