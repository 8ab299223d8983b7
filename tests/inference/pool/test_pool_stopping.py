"""Cancelling, draining and exiting: nothing is computed for nobody, and no child outlives its parent."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from bot.errors import Interrupted, JobCancelled
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import Progress
from inference.ipc.environment import ROOT, clean_environment, container_threads
from tests.inference.support import (
    child_pid,
    collect,
    finish,
    is_alive,
    make_model,
    make_task,
    open_pool,
    seconds_until_exit,
    wait_until,
    wait_until_idle,
)

pytestmark = pytest.mark.process

LONG = "sleep=0.05 steps=10000"
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pool():
    async with open_pool() as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def pool(shared_pool):
    """The shared pool: a test must leave it idle, without a restart."""
    await wait_until_idle(shared_pool)
    yield shared_pool
    await wait_until_idle(shared_pool)
    assert shared_pool.device_statuses()[0].restarts == 0


@in_one_loop
async def test_a_cancelled_task_stops_at_the_next_step(pool):
    later_steps: list[int] = []
    at = {3: lambda: pool.cancel_task("job"), 20: lambda: later_steps.append(20)}  # a busy machine may miss a few
    with pytest.raises(JobCancelled):
        await collect(pool, make_task("sleep=0.1 steps=50"), at)
    output = await finish(pool, make_task())

    assert not later_steps
    assert output.images
    assert pool.device_statuses()[0].restarts == 0


@in_one_loop
async def test_a_task_cancelled_while_its_model_loads_ends_immediately(pool, tmp_path):
    go = tmp_path / "go"
    task = make_task(model=make_model("slow", repo=f"load-wait={go}"))
    running = asyncio.create_task(collect(pool, task))
    await wait_until(lambda: pool._devices[0]._watchdog.loading == "slow")
    pool.cancel_task("job")
    with pytest.raises(JobCancelled):
        await running
    was_free = bool(pool.list_offers())
    go.touch()
    await wait_until(pool.list_offers)
    output = await finish(pool, make_task(id="next"))  # the worker's answer to the first can still arrive

    assert not was_free, "the device is still loading"
    assert output.images


@in_one_loop
async def test_a_task_cancelled_before_it_is_placed_never_runs(pool):
    first = asyncio.create_task(finish(pool, make_task("sleep=0.1")))
    await wait_until(lambda: pool.device_statuses()[0].running == 1)
    second = asyncio.create_task(collect(pool, make_task(id="second")))
    await asyncio.sleep(0)
    pool.cancel_task("second")
    await first

    with pytest.raises(JobCancelled):
        await second


@in_one_loop
async def test_cancelling_a_task_that_does_not_run_has_no_effect(pool):
    pool.cancel_task("nobody")
    output = await finish(pool, make_task())

    assert output.images


@in_one_loop
async def test_closing_the_iterator_cancels_the_task(pool):
    async with contextlib.aclosing(pool.run_task(make_task(LONG))) as events:
        async for event in events:
            if isinstance(event, Progress) and event.step == 2:
                break
    await wait_until(pool.list_offers)
    output = await finish(pool, make_task())

    assert output.images


@in_one_loop
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_children_leave_the_terminals_signals_to_the_parent(pool, name):
    async for event in pool.run_task(make_task("sleep=0.02 steps=5")):
        if isinstance(event, Progress) and event.step == 1:
            os.kill(child_pid(pool), getattr(signal, name))
    output = await finish(pool, make_task())

    assert output.images
    assert pool.device_statuses()[0].restarts == 0


async def test_draining_lets_a_task_finish_within_the_deadline():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task("sleep=0.1")))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        await pool.drain(30)
        output = await running
        offers = pool.list_offers()

    assert output.images
    assert offers == []


async def test_draining_interrupts_tasks_that_do_not_finish_in_time():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task(LONG)))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        await pool.drain(0.2)

        with pytest.raises(Interrupted):
            await asyncio.wait_for(running, 60)


async def test_a_draining_pool_accepts_no_more_tasks():
    async with open_pool() as pool:
        await pool.drain(0)

        with pytest.raises(Interrupted):
            await collect(pool, make_task())


async def test_leaving_the_pool_interrupts_its_tasks_and_ends_its_children():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task("hang")))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        pid = child_pid(pool)

    with pytest.raises(Interrupted):
        await running
    assert not is_alive(pid)
    assert pool.device_statuses()[0].state == "stopped"


# ---------------------------------------------------------------- secrets


async def test_no_child_sees_a_secret(monkeypatch):
    for name in ("DISCORD_TOKEN", "TELEGRAM_BOT_TOKEN", "HF_TOKEN", "EASEL_STORAGE__URL", "CUDA_API_KEY", "XDG_SECRET"):
        monkeypatch.setenv(name, "canary")
    task = make_task(task=VISUAL_QUESTION_ANSWERING, options={"prompt": "", "question": "say-env", "max_new_tokens": 3})
    async with open_pool() as pool:
        done = await finish(pool, task)
        whole = environment_of(child_pid(pool))

    assert done.text is not None
    assert "HF_HUB_OFFLINE" in done.text
    assert not {name for name in done.text.split() if name.endswith(("_TOKEN", "_KEY", "_SECRET", "__URL"))} - {
        "HF_HUB_DISABLE_IMPLICIT_TOKEN"
    }
    assert "canary" not in whole


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def test_the_environment_keeps_what_torch_needs():
    kept = clean_environment(
        {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "HF_HOME": "/hub", "MY_THING": "x"}, threads=2
    )

    assert (kept["PATH"], kept["CUDA_VISIBLE_DEVICES"], kept["HF_HOME"]) == ("/bin", "1", "/hub")
    assert kept["OMP_NUM_THREADS"] == "2"
    assert "MY_THING" not in kept


@pytest.mark.parametrize(
    ("limit", "threads"),
    [
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 0),
        ("max 100000", 0),
        ("", 0),
    ],
)
def test_in_a_container_threads_are_as_many_as_the_processors_it_may_use(monkeypatch, tmp_path, limit, threads):
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 16)
    (tmp_path / "cpu.max").write_text(limit)

    assert container_threads(tmp_path) == threads


def test_the_containers_limit_counts_unless_the_owner_says_otherwise(monkeypatch):
    monkeypatch.setattr("inference.ipc.environment.container_threads", lambda: 3)

    assert clean_environment({})["OMP_NUM_THREADS"] == "3"
    assert clean_environment({"OMP_NUM_THREADS": "5"})["OMP_NUM_THREADS"] == "5"
    assert clean_environment({"OMP_NUM_THREADS": "5"}, threads=2)["OMP_NUM_THREADS"] == "2"


def test_threads_do_not_spin_while_they_wait_unless_the_owner_says_so():
    chosen = clean_environment({"OMP_WAIT_POLICY": "ACTIVE"})

    assert clean_environment({})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert chosen["OMP_WAIT_POLICY"] == "ACTIVE"


# ---------------------------------------------------------------- the parent's death

PARENT = """
import asyncio, sys
from tests.inference.support import child_pid, collect, make_model, make_task, open_pool, wait_until

async def main():
    async with open_pool() as pool:
        prompt, repo = sys.argv[1:]
        running = asyncio.create_task(collect(pool, make_task(prompt, model=make_model(repo=repo))))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        await asyncio.sleep(0.3)
        print("child", child_pid(pool), flush=True)
        await running

asyncio.run(main())
"""


def printed_child_pid(parent: subprocess.Popen) -> int:
    """The child's process id, which the parent prints among its log lines."""
    return next(int(line.split()[1]) for line in parent.stdout if line.startswith("child "))


@pytest.mark.parametrize(
    ("prompt", "repo"),
    [(LONG, "."), ("hang=1", "."), ("busy=1", "."), ("a fox", "load-hang"), ("a fox", "load-busy")],
    ids=["computing", "hanging", "blocking the interpreter", "loading", "loading, blocking the interpreter"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a hung child with its parent")
def test_no_child_outlives_a_killed_parent(prompt, repo):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, prompt, repo], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = printed_child_pid(parent)
        parent.kill()

    assert seconds_until_exit(child) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a hung child with its parent")
def test_no_stopped_child_outlives_a_killed_parent():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, LONG, "."], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = printed_child_pid(parent)
        os.kill(child, signal.SIGSTOP)
        parent.kill()

    assert seconds_until_exit(child) < 20
