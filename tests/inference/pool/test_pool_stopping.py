"""Cancelling, draining and dying: nothing computes for nobody, no child outlives its parent."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bot.errors import Interrupted, JobCancelled
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import Progress
from inference.ipc.environment import clean_environment
from inference.ipc.process import ROOT
from tests.inference.support import (
    child_of,
    collect,
    finish,
    is_alive,
    make_model,
    make_task,
    open_pool,
    until,
    wait_for_death,
)

LONG = "sleep=0.05 steps=10000"


async def test_a_cancelled_task_stops_at_the_next_step():
    heard: list[int] = []
    async with open_pool() as pool:
        at = {3: lambda: pool.cancel("job"), 5: lambda: heard.append(5)}
        with pytest.raises(JobCancelled):
            await collect(pool, make_task("sleep=0.1 steps=50"), at)
        done = await finish(pool, make_task())

    assert not heard
    assert done.pictures
    assert pool.statuses()[0].restarts == 0


async def test_a_task_cancelled_while_its_model_loads_ends_at_once():
    async with open_pool() as pool:
        task = make_task(model=make_model("slow", repo="load=1"))
        running = asyncio.create_task(collect(pool, task))
        await until(lambda: pool._devices[0]._watchdog.loading == "slow")
        pool.cancel("job")
        with pytest.raises(JobCancelled):
            await running
        was_free = bool(pool.offers())
        await until(pool.offers)
        done = await finish(pool, make_task())

    assert not was_free, "the device is still loading"
    assert done.pictures


async def test_a_task_cancelled_before_it_has_a_place_never_runs():
    async with open_pool() as pool:
        first = asyncio.create_task(finish(pool, make_task("sleep=0.1")))
        await until(lambda: pool.statuses()[0].running == 1)
        second = asyncio.create_task(collect(pool, make_task(id="second")))
        await asyncio.sleep(0)
        pool.cancel("second")
        await first

        with pytest.raises(JobCancelled):
            await second


async def test_cancelling_a_task_that_does_not_run_does_nothing():
    async with open_pool() as pool:
        pool.cancel("nobody")
        done = await finish(pool, make_task())

    assert done.pictures


async def test_closing_the_iterator_cancels_the_task():
    async with open_pool() as pool:
        async with contextlib.aclosing(pool.run(make_task(LONG))) as events:
            async for event in events:
                if isinstance(event, Progress) and event.step == 2:
                    break
        await until(pool.offers)
        done = await finish(pool, make_task())

    assert done.pictures


async def test_draining_lets_a_task_finish_within_the_deadline():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task("sleep=0.1")))
        await until(lambda: pool.statuses()[0].running == 1)
        await pool.drain(10)
        done = await running
        offers = pool.offers()

    assert done.pictures
    assert offers == []


async def test_draining_interrupts_what_does_not_finish_in_time():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task(LONG)))
        await until(lambda: pool.statuses()[0].running == 1)
        began = time.monotonic()
        await pool.drain(0.2)

        with pytest.raises(Interrupted):
            await running

        assert time.monotonic() - began < 5


async def test_a_draining_pool_takes_nothing_more():
    async with open_pool() as pool:
        await pool.drain(0)

        with pytest.raises(Interrupted):
            await collect(pool, make_task())


async def test_leaving_the_pool_interrupts_its_tasks_and_ends_its_children():
    async with open_pool() as pool:
        running = asyncio.create_task(finish(pool, make_task("hang")))
        await until(lambda: pool.statuses()[0].running == 1)
        pid = child_of(pool)

    with pytest.raises(Interrupted):
        await running
    assert not is_alive(pid)
    assert pool.statuses()[0].state == "stopped"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_children_leave_the_terminals_signals_to_the_parent(name):
    async with open_pool() as pool:
        async for event in pool.run(make_task("sleep=0.02 steps=5")):
            if isinstance(event, Progress) and event.step == 1:
                os.kill(child_of(pool), getattr(signal, name))
        done = await finish(pool, make_task())

    assert done.pictures
    assert pool.statuses()[0].restarts == 0


# ---------------------------------------------------------------- secrets


async def test_no_child_sees_a_secret(monkeypatch):
    for name in ("DISCORD_TOKEN", "TELEGRAM_BOT_TOKEN", "HF_TOKEN", "EASEL_STORAGE__URL", "CUDA_API_KEY", "XDG_SECRET"):
        monkeypatch.setenv(name, "canary")
    task = make_task(task=VISUAL_QUESTION_ANSWERING, options={"prompt": "", "question": "say-env", "max_new_tokens": 3})
    async with open_pool() as pool:
        done = await finish(pool, task)
        whole = environment_of(child_of(pool))

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


# ---------------------------------------------------------------- the parent's death

PARENT = """
import asyncio, sys
from tests.inference.support import child_of, collect, make_model, make_task, open_pool, until

async def main():
    async with open_pool() as pool:
        prompt, repo = sys.argv[1:]
        running = asyncio.create_task(collect(pool, make_task(prompt, model=make_model(repo=repo))))
        await until(lambda: pool.statuses()[0].running == 1)
        await asyncio.sleep(0.3)
        print("child", child_of(pool), flush=True)
        await running

asyncio.run(main())
"""


def told_child(parent: subprocess.Popen) -> int:
    """The child's process id, found among the parent's log lines."""
    return next(int(line.split()[1]) for line in parent.stdout if line.startswith("child "))


@pytest.mark.parametrize(
    ("prompt", "repo"),
    [(LONG, "."), ("hang=1", "."), ("busy=1", "."), ("a fox", "load-hang"), ("a fox", "load-busy")],
    ids=["computing", "hanging", "holding the interpreter", "loading", "loading, holding the interpreter"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a hung child of its parent's death")
def test_no_child_outlives_a_killed_parent(prompt, repo):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, prompt, repo], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = told_child(parent)
        parent.kill()

    assert wait_for_death(child) < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a hung child of its parent's death")
def test_no_stopped_child_outlives_a_killed_parent():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, LONG, "."], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = told_child(parent)
        os.kill(child, signal.SIGSTOP)
        parent.kill()

    assert wait_for_death(child) < 5
