"""What the pool does when a child crashes, hangs, starves or takes too long: real children, really killed."""

import asyncio
import itertools
import os
import signal
import time

import pytest

from bot.errors import EngineError, EngineTimeout, ModelUnavailable, OutOfMemory, WorkerLost
from tests.inference.support import child_of, collect, finish, make_model, make_task, open_pool, until


async def test_a_killed_child_loses_its_task_and_is_started_again():
    async with open_pool() as pool:
        with pytest.raises(WorkerLost) as lost:
            await collect(
                pool, make_task("sleep=0.05 steps=100"), at={1: lambda: os.kill(child_of(pool), signal.SIGKILL)}
            )
        done = await finish(pool, make_task())
        restarts = pool.statuses()[0].restarts

    assert lost.value.alone
    assert "-9" in lost.value.detail
    assert done.pictures
    assert restarts == 1


async def test_a_task_that_never_reached_the_child_is_not_blamed_for_its_death():
    async with open_pool() as pool:
        os.kill(child_of(pool), signal.SIGSTOP)
        running = asyncio.create_task(collect(pool, make_task()))
        await until(lambda: pool.statuses()[0].running == 1)
        os.kill(child_of(pool), signal.SIGKILL)

        with pytest.raises(WorkerLost) as lost:
            await running

    assert not lost.value.alone


async def test_the_log_holds_where_native_code_died():
    async with open_pool() as pool:
        with pytest.raises(WorkerLost) as lost:
            await collect(pool, make_task("abort"))

    assert "Fatal Python error: Aborted" in lost.value.detail
    assert "engines.py" in lost.value.detail


async def test_a_stopped_child_is_found_by_its_silence():
    async with open_pool(silence_s=1.5) as pool:
        with pytest.raises(WorkerLost, match="silent"):
            await collect(
                pool, make_task("sleep=0.05 steps=1000"), at={2: lambda: os.kill(child_of(pool), signal.SIGSTOP)}
            )
        done = await finish(pool, make_task())

    assert done.pictures


async def test_a_stopped_child_is_found_also_when_it_has_nothing_to_do():
    async with open_pool(silence_s=1.5) as pool:
        os.kill(child_of(pool), signal.SIGSTOP)
        await until(lambda: pool.statuses()[0].restarts == 1)
        done = await finish(pool, make_task())

    assert done.pictures


async def test_a_child_whose_interpreter_is_held_is_found_by_its_silence():
    async with open_pool(silence_s=1.5) as pool:
        with pytest.raises(WorkerLost) as lost:
            await collect(pool, make_task("busy"))

    assert lost.value.alone
    assert "silent" in lost.value.detail
    assert "_busy" in lost.value.detail, "the traceback says where it hung"


async def test_a_step_that_hangs_is_found_although_the_heart_beats():
    async with open_pool(step_silence_s=0.5) as pool:
        with pytest.raises(WorkerLost, match="no step") as lost:
            await collect(pool, make_task("hang=3"))

    assert lost.value.alone


async def test_slow_steps_are_not_taken_for_a_hang():
    async with open_pool(step_silence_s=0.1) as pool:
        done = await finish(pool, make_task("sleep=0.3"))

    assert done.pictures


async def test_a_job_over_its_device_time_stops_at_the_next_step():
    async with open_pool(job_timeout_s=0.4) as pool:
        began = time.monotonic()
        with pytest.raises(EngineTimeout) as late:
            await collect(pool, make_task("sleep=0.05 steps=1000"))
        took_s = time.monotonic() - began
        restarts = pool.statuses()[0].restarts

    assert late.value.limit_s == 0.4
    assert took_s < 10
    assert restarts == 0


async def test_a_job_over_its_time_that_does_not_stop_gets_its_child_killed():
    async with open_pool(job_timeout_s=0.3, cancel_grace_s=0.3) as pool:
        with pytest.raises(EngineTimeout):
            await collect(pool, make_task("hang=1"))
        done = await finish(pool, make_task())

    assert done.pictures
    assert pool.statuses()[0].restarts == 1


async def test_loading_does_not_count_against_the_job_but_has_a_limit_of_its_own():
    async with open_pool(job_timeout_s=0.8, load_timeout_s=2.0) as pool:
        done = await finish(pool, make_task(model=make_model("slow", repo="load=1")))
        with pytest.raises(ModelUnavailable, match="loading took over") as refused:
            await collect(pool, make_task(model=make_model("endless", repo="load-hang")))

    assert done.pictures
    assert refused.value.model == "endless"


async def test_a_child_that_is_stopped_while_it_loads_is_found():
    async with open_pool(silence_s=0.5, load_silence_s=1.5) as pool:
        with pytest.raises(WorkerLost, match="silent"):
            await collect(pool, make_task(model=make_model("held", repo="load-busy")))


async def test_a_model_that_kills_its_child_is_not_loaded_at_the_next_start():
    async with open_pool([make_model(repo="load-crash")], warm_up=True) as pool:
        await until(lambda: pool.statuses()[0].restarts == 1 and pool.offers())
        await asyncio.sleep(0.2)
        restarts = pool.statuses()[0].restarts

    assert restarts == 1


async def test_running_out_of_memory_for_good_is_told_as_such_and_the_next_task_is_not_harmed():
    async with open_pool() as pool:
        with pytest.raises(OutOfMemory):
            await collect(pool, make_task("oom"))
        done = await finish(pool, make_task())

    assert done.pictures
    assert pool.statuses()[0].restarts == 1


async def test_running_out_of_memory_while_loading_is_told_as_such():
    async with open_pool() as pool:
        with pytest.raises(OutOfMemory):
            await collect(pool, make_task(model=make_model("huge", repo="load-oom")))


async def test_an_engine_that_fails_costs_only_its_task_and_its_traceback_holds_no_prompt():
    async with open_pool() as pool:
        with pytest.raises(EngineError) as failed:
            await collect(pool, make_task("fail", options={"negative_prompt": "a secret prompt"}))
        done = await finish(pool, make_task())

    assert "Traceback" in failed.value.detail
    assert "secret" not in failed.value.detail
    assert done.pictures
    assert pool.statuses()[0].restarts == 0


async def test_a_child_that_dies_again_and_again_is_started_ever_more_slowly():
    births = []
    async with open_pool(restart_backoff_s=0.05, restart_backoff_max_s=0.4) as pool:
        for _ in range(5):
            await until(pool.offers)
            births.append(time.monotonic())
            os.kill(child_of(pool), signal.SIGKILL)
            await until(lambda: not pool.offers())

    waits = [later - earlier for earlier, later in itertools.pairwise(births)]
    assert waits[0] < waits[3]
    assert 0.4 < waits[3] < 20


async def test_the_crash_of_one_device_leaves_the_other_alone():
    async with open_pool(devices=("cpu", "cpu")) as pool:
        await until(lambda: len(pool.offers()) == 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(expect_loss(pool, make_task("sleep=0.1 crash", id="a")))
            well = group.create_task(finish(pool, make_task("sleep=0.1 steps=6", id="b")))

    assert well.result().pictures


async def expect_loss(pool, task):
    with pytest.raises(WorkerLost):
        await collect(pool, task)


async def test_noise_from_the_child_ends_it_and_not_the_parent():
    async with open_pool() as pool:
        await finish(pool, make_task())
        with pytest.raises(WorkerLost, match="noise"):
            await collect(pool, make_task("noise"))
        done = await finish(pool, make_task())

    assert done.pictures


async def test_a_crash_blames_none_of_several_tasks_and_one_that_ran_alone(tmp_path):
    model = make_model(repo="rows=3")
    async with open_pool([model]) as pool:
        await finish(pool, make_task(model=model))
        go = tmp_path / "go"
        words = [f"wait-for={go} crash=2", "steps=9", "steps=9"]
        tasks = [make_task(prompt, id=f"job{n}", model=model) for n, prompt in enumerate(words)]
        running = [asyncio.create_task(collect(pool, task)) for task in tasks]
        await until(lambda: pool.statuses()[0].running == 3)
        go.touch()
        lost = await asyncio.gather(*running, return_exceptions=True)
        await until(pool.offers)
        with pytest.raises(WorkerLost) as alone:
            await collect(pool, make_task("crash=1", id="job0", model=model, alone=True))

    assert [error.alone for error in lost] == [False] * 3
    assert alone.value.alone
