"""The pool with children that crash, hang, run out of memory or take too long: real children, really killed.

Time limits are tested with a clock that stands still until the test advances it. Tests that need no settings of their
own share one pool, whose child restarts from test to test.
"""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from bot.errors import EngineError, EngineTimeout, ModelUnavailable, OutOfMemory, WorkerLost
from bot.ports import Measurement, Progress
from inference.ipc.process import ChildProcess
from tests.inference.support import (
    ManualClock,
    child_pid,
    collect,
    finish,
    make_model,
    make_task,
    open_pool,
    wait_until,
    wait_until_idle,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("forked_workers")]

LIMITS: dict[str, Any] = {
    "job_timeout_s": 60.0,
    "load_timeout_s": 100.0,
    "heartbeat_timeout_s": 0.8,
    "load_heartbeat_timeout_s": 1.0,
    "step_timeout_s": 1.2,
    "cancel_grace_s": 0.5,
}
"""Seconds of the manual clock; only the child's heartbeats, every 0.2 s, use real time. An advance by more than 1.5 s
counts as a delay of the parent, which excuses missing heartbeats and steps but does not extend other limits."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pool():
    async with open_pool() as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def pool(shared_pool):
    await wait_until_idle(shared_pool)
    yield shared_pool
    await wait_until_idle(shared_pool)


@pytest.fixture(scope="module")
def clock():
    return ManualClock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited_pool(clock):
    async with open_pool(clock=clock, **LIMITS) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def timed_pool(limited_pool):
    """The pool whose time limits are `LIMITS`, by the manual clock."""
    await wait_until_idle(limited_pool)
    yield limited_pool
    await wait_until_idle(limited_pool)


async def test_a_killed_child_loses_its_task_and_is_restarted(pool):
    before = restarts(pool)
    with pytest.raises(WorkerLost) as lost:
        await collect(pool, make_task("sleep=0.05 steps=100"), at={1: lambda: os.kill(child_pid(pool), signal.SIGKILL)})
    await wait_until(lambda: restarts(pool) == before + 1)
    must_import = not pool.device_statuses()[0].has_imported
    events = await collect(pool, make_task())

    assert lost.value.was_alone
    assert "-9" in lost.value.detail
    assert events[-1].images
    assert must_import
    status = pool.device_statuses()[0]
    assert status.lost_at is not None
    assert "-9" in status.lost_reason
    assert [e.what for e in events if isinstance(e, Measurement)][:2] == ["import", "load"]
    assert restarts(pool) == before + 1


async def test_a_task_that_never_reached_the_child_is_not_blamed_for_its_crash(pool):
    child = psutil.Process(child_pid(pool))
    child.suspend()
    await wait_until(lambda: child.status() == psutil.STATUS_STOPPED)
    running = asyncio.create_task(collect(pool, make_task()))
    await wait_until(lambda: pool.device_statuses()[0].running == 1)
    child.kill()

    with pytest.raises(WorkerLost) as lost:
        await running

    assert not lost.value.was_alone


async def test_the_error_holds_the_traceback_of_a_crash_in_native_code(pool):
    with pytest.raises(WorkerLost) as lost:
        await collect(pool, make_task("abort"))

    assert "Fatal Python error: Aborted" in lost.value.detail
    assert "engines.py" in lost.value.detail


async def test_garbage_from_the_child_ends_the_child_and_not_the_parent(pool):
    await finish(pool, make_task())
    with pytest.raises(WorkerLost, match="broke the protocol"):
        await collect(pool, make_task("garbage"))
    output = await finish(pool, make_task())

    assert output.images


async def test_a_task_that_is_out_of_memory_for_good_fails_and_the_next_one_runs_in_a_new_child(pool):
    before = restarts(pool)
    with pytest.raises(OutOfMemory):
        await collect(pool, make_task("oom"))
    output = await finish(pool, make_task())

    assert output.images
    assert restarts(pool) == before + 1


async def test_a_model_for_which_memory_runs_out_during_loading_is_out_of_memory(pool):
    with pytest.raises(OutOfMemory):
        await collect(pool, make_task(model=make_model("huge", repo="load-oom")))


async def test_a_failing_engine_costs_only_its_task_and_its_traceback_contains_no_prompt(pool):
    before = restarts(pool)
    with pytest.raises(EngineError) as failed:
        await collect(pool, make_task("fail", options={"negative_prompt": "a secret prompt"}))
    output = await finish(pool, make_task())

    assert "Traceback" in failed.value.detail
    assert "secret" not in failed.value.detail
    assert output.images
    assert restarts(pool) == before


async def test_a_crash_blames_none_of_several_tasks_but_blames_one_that_ran_alone(pool, tmp_path):
    model = make_model("batching", repo="slots=3")
    await finish(pool, make_task(model=model))
    go = tmp_path / "go"
    prompts = [f"wait-for={go} crash=2", "steps=9", "steps=9"]
    tasks = [make_task(prompt, id=f"job{n}", model=model) for n, prompt in enumerate(prompts)]
    running = [asyncio.create_task(collect(pool, task)) for task in tasks]
    await wait_until(lambda: pool.device_statuses()[0].running == 3)
    go.touch()
    lost = await asyncio.gather(*running, return_exceptions=True)
    await wait_until(pool.list_offers)
    with pytest.raises(WorkerLost) as alone:
        await collect(pool, make_task("crash=1", id="job0", model=model, is_exclusive=True))

    assert [error.was_alone for error in lost] == [False] * 3
    assert alone.value.was_alone


async def test_a_model_that_crashes_its_child_is_not_loaded_at_the_next_start():
    async with open_pool([make_model(repo="load-crash")], warm_up=True) as pool:
        await wait_until(lambda: restarts(pool) == 1 and pool.list_offers())
        await asyncio.sleep(0.2)

        assert restarts(pool) == 1


async def test_a_child_that_crashes_again_and_again_is_restarted_with_growing_delays():
    delays = []

    async def sleep(seconds):
        delays.append(seconds)

    async with open_pool(restart_backoff_s=0.05, restart_backoff_max_s=0.4, clock=ManualClock(), sleep=sleep) as pool:
        for crashes in range(1, 6):
            await wait_until(pool.list_offers)
            os.kill(child_pid(pool), signal.SIGKILL)
            await wait_until(lambda: len(delays) == crashes)  # noqa: B023 - it is called in this round only

    assert delays == [0.05, 0.1, 0.2, 0.4, 0.4]


async def test_a_task_submitted_while_a_lost_child_is_reaped_runs_on_the_next_child(monkeypatch):
    is_closing, close = asyncio.Event(), ChildProcess.close

    async def close_slowly(child, *args):
        is_closing.set()
        await asyncio.sleep(0.1)
        return await close(child, *args)

    monkeypatch.setattr(ChildProcess, "close", close_slowly)
    async with open_pool() as pool:
        os.kill(child_pid(pool), signal.SIGKILL)
        await is_closing.wait()

        assert (await finish(pool, make_task())).images


async def test_the_crash_of_one_device_does_not_affect_another():
    async with open_pool(devices=("cpu", "cpu")) as pool:
        await wait_until(lambda: len(pool.list_offers()) == 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(expect_loss(pool, make_task("sleep=0.1 crash", id="a")))
            other = group.create_task(finish(pool, make_task("sleep=0.1 steps=6", id="b")))

    assert other.result().images


async def expect_loss(pool, task):
    with pytest.raises(WorkerLost):
        await collect(pool, task)


# ---------------------------------------------------------------- time limits, by a manual clock


async def test_a_stopped_child_is_found_by_its_missing_heartbeats(timed_pool, clock):
    events: list[Any] = []
    running = asyncio.create_task(collect_into(events, timed_pool, make_task("sleep=0.05 steps=1000")))
    await wait_until(lambda: has_step(events, 2))
    await stop(child_pid(timed_pool))
    await clock.advance_until(timed_pool, 0.9, running.done)

    with pytest.raises(WorkerLost, match="no heartbeat"):
        await running
    assert (await finish(timed_pool, make_task())).images


async def test_a_stopped_child_is_found_even_when_it_is_idle(timed_pool, clock):
    before = restarts(timed_pool)
    await stop(child_pid(timed_pool))
    await clock.advance_until(timed_pool, 0.9, lambda: restarts(timed_pool) == before + 1)
    output = await finish(timed_pool, make_task())

    assert output.images


async def test_a_child_whose_interpreter_is_blocked_is_found_by_its_missing_heartbeats(timed_pool, clock):
    child = timed_pool._devices[0]._child
    running = asyncio.create_task(collect(timed_pool, make_task("busy")))
    await wait_until(lambda: "_busy" in child.crash_trace)
    await clock.advance_until(timed_pool, 0.9, running.done)

    with pytest.raises(WorkerLost) as lost:
        await running

    assert lost.value.was_alone
    assert "no heartbeat" in lost.value.detail
    assert "_busy" in lost.value.detail, "the traceback names the function that hangs"


async def test_a_child_that_is_blocked_while_it_loads_is_found(timed_pool, clock):
    running = asyncio.create_task(collect(timed_pool, make_task(model=make_model("held", repo="load-busy"))))
    await wait_until(lambda: timed_pool._devices[0]._watchdog.loading == "held")
    await clock.advance_until(timed_pool, 1.1, running.done)

    with pytest.raises(WorkerLost, match="no heartbeat"):
        await running


async def test_a_hanging_step_is_found_despite_heartbeats(timed_pool, clock):
    events: list[Any] = []
    running = asyncio.create_task(collect_into(events, timed_pool, make_task("hang=3")))
    await wait_until(lambda: has_step(events, 2))
    for _ in range(2):
        await clock.advance_with_heartbeat(timed_pool, 0.7)

    with pytest.raises(WorkerLost, match="no step") as lost:
        await running

    assert lost.value.was_alone


async def test_slow_steps_are_not_mistaken_for_a_hang(timed_pool, clock, tmp_path):
    before, go = restarts(timed_pool), tmp_path / "go"
    events: list[Any] = []
    running = asyncio.create_task(collect_into(events, timed_pool, make_task(f"wait-for={go}")))
    await wait_until_started(timed_pool)
    for step in (1, 2, 3):
        for _ in range(2):
            await clock.advance_with_heartbeat(timed_pool, 0.7)
        go.touch()
        await wait_until(partial(has_step, events, step))
    await running

    assert events[-1].images
    assert restarts(timed_pool) == before


async def test_a_job_over_its_device_time_stops_at_the_next_step(timed_pool, clock, tmp_path):
    before, go = restarts(timed_pool), tmp_path / "go"
    events: list[Any] = []
    running = asyncio.create_task(collect_into(events, timed_pool, make_task(f"wait-for={go} steps=1000")))
    await wait_until_started(timed_pool)
    await clock.advance_until(timed_pool, 61, lambda: is_told_to_stop(timed_pool))
    go.touch()

    with pytest.raises(EngineTimeout) as late:
        await running

    assert late.value.limit_s == 60
    assert not has_step(events, 2)
    assert restarts(timed_pool) == before


async def test_a_job_over_its_time_that_does_not_stop_gets_its_child_killed(timed_pool, clock):
    before = restarts(timed_pool)
    running = asyncio.create_task(collect(timed_pool, make_task("hang=1")))
    await wait_until_started(timed_pool)
    await clock.advance_until(timed_pool, 61, lambda: is_told_to_stop(timed_pool))
    await clock.advance(timed_pool, 0.6)

    with pytest.raises(EngineTimeout):
        await running
    output = await finish(timed_pool, make_task())

    assert output.images
    assert restarts(timed_pool) == before + 1


async def test_loading_does_not_count_against_the_job_but_has_a_limit_of_its_own(timed_pool, clock, tmp_path):
    go = tmp_path / "go"
    slow = asyncio.create_task(finish(timed_pool, make_task(model=make_model("slow", repo=f"load-wait={go}"))))
    await wait_until(lambda: timed_pool._devices[0]._watchdog.loading == "slow")
    await clock.advance(timed_pool, 61)
    go.touch()
    output = await slow

    endless = asyncio.create_task(collect(timed_pool, make_task(model=make_model("endless", repo="load-hang"))))
    await wait_until(lambda: timed_pool._devices[0]._watchdog.loading == "endless")
    await clock.advance(timed_pool, 101)
    with pytest.raises(ModelUnavailable, match="loading took over") as refused:
        await endless

    assert output.images
    assert refused.value.model == "endless"


def restarts(pool):
    return pool.device_statuses()[0].restarts


async def collect_into(events, pool, task):
    """Append the task's events as they arrive."""
    async for event in pool.run_task(task):
        events.append(event)


def has_step(events, step):
    return any(isinstance(event, Progress) and event.step == step for event in events)


async def wait_until_started(pool):
    await wait_until(lambda: any(handle.started_at is not None for handle in pool._devices[0]._running.values()))


def is_told_to_stop(pool):
    """A heartbeat that was read in between would begin the task's time anew."""
    return any(handle.stop_deadline is not None for handle in pool._devices[0]._running.values())


async def stop(pid):
    """Stop the process, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    await wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
