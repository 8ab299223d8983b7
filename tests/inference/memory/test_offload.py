"""What happens when memory runs out, when models are idle, and when somebody wants the memory back."""

import asyncio
import io

import pytest

from bot.errors import OutOfMemory
from bot.memory.fit import Hardware, fit
from bot.memory.placement import Room
from bot.ports import Progress
from inference.ipc import child, messages
from inference.pool.idle_unload import Idleness
from inference.safety.checker import Checker
from inference.worker.model_cache import Shelf
from tests.inference import low_memory_engine
from tests.inference.support import child_of, collect, finish, make_model, make_task, open_pool, until

FRUGAL = "tests.inference.low_memory_engine:build"


def task_of(repo, name="model", **fields):
    return make_task(model=make_model(name, repo=repo), **fields)


async def test_a_job_that_runs_out_of_memory_is_made_at_a_lower_rung():
    async with open_pool(engines=FRUGAL) as pool:
        events = await collect(pool, task_of("needs=2 rungs=3"))
        status = pool.statuses()[0]

    assert events[-1].notes == ("2 rungs",)
    assert [event.step for event in events if isinstance(event, Progress)] == [0, 1, 1, 1, 2, 3]
    assert status.restarts == 0


async def test_pictures_made_before_memory_ran_out_are_not_told_twice():
    async with open_pool(engines=FRUGAL) as pool:
        done = await finish(pool, task_of("needs=1 rungs=1", options={"count": 3, "seed": 7}))

    assert [one.media.data[0] for one in done.pictures] == [0, 0, 0]
    assert [one.media.data[2] for one in done.pictures] == [7, 8, 9]


async def test_rungs_are_remembered_when_the_model_is_loaded_again():
    async with open_pool(engines=FRUGAL, max_warm=1) as pool:
        await finish(pool, task_of("needs=2 rungs=3"))
        await finish(pool, task_of("", "other"))
        events = await collect(pool, task_of("needs=2 rungs=3"))

    assert [event.step for event in events if isinstance(event, Progress)] == [0, 1, 2, 3]


async def test_other_models_go_before_anything_is_made_smaller():
    async with open_pool(engines=FRUGAL) as pool:
        await finish(pool, task_of("", "other"))
        done = await finish(pool, task_of("needs=1 rungs=1"))
        warm = pool.statuses()[0].warm

    assert warm == ("model",)
    assert done.notes == ("1 rungs",)


async def test_at_the_bottom_of_the_ladder_the_job_ends_and_the_child_starts_anew():
    async with open_pool(engines=FRUGAL) as pool:
        child = child_of(pool)
        with pytest.raises(OutOfMemory):
            await collect(pool, task_of("needs=9 rungs=2"))
        await until(lambda: pool.statuses()[0].restarts == 1 and pool.offers())
        done = await finish(pool, task_of("", "other"))
        new_child = child_of(pool)

    assert new_child != child
    assert done.pictures


async def test_a_model_that_finds_no_room_is_loaded_once_the_others_are_gone():
    async with open_pool(engines=FRUGAL) as pool:
        await finish(pool, task_of("", "other"))
        done = await finish(pool, task_of("load-needs=1", "large"))
        warm = pool.statuses()[0].warm

    assert done.pictures
    assert warm == ("large",)


# ---------------------------------------------------------------- giving memory back


async def test_memory_is_given_back_when_somebody_says_so():
    async with open_pool(engines=FRUGAL) as pool:
        await finish(pool, task_of("", "one"))
        await finish(pool, task_of("", "two"))

        freed = await pool.release()
        warm = pool.statuses()[0].warm
        done = await finish(pool, task_of("", "one"))

    assert set(freed.models) == {"one", "two"}
    assert freed.busy == warm == ()
    assert done.pictures


async def test_a_model_at_work_stays():
    async with open_pool() as pool:
        working = asyncio.create_task(finish(pool, make_task("sleep=0.05 steps=12", model=make_model("busy"))))
        await until(lambda: pool.statuses()[0].warm == ("busy",))
        freed = await pool.release()
        done = await working

    assert freed.models == ()
    assert freed.busy == ("busy",)
    assert done.pictures


async def test_release_answers_when_the_child_is_gone():
    async with open_pool(engines=FRUGAL, devices=("cpu",)) as pool:
        pool._devices[0]._state = "restarting"

        assert (await pool.release()).models == ()


async def test_a_model_that_nobody_uses_is_unloaded():
    async with open_pool(engines=FRUGAL, idle_unload_s=0.2) as pool:
        await finish(pool, task_of("", "one"))
        await until(lambda: pool.statuses()[0].warm == ())
        done = await finish(pool, task_of("", "one"))

    assert done.pictures


def test_only_what_was_not_used_for_long_is_stale():
    idleness = Idleness(60)
    idleness.used("old", 0)

    assert idleness.stale(["old", "new"], [], 59) == ()
    assert idleness.stale(["old", "new"], [], 61) == ("old",)
    assert idleness.stale(["old", "new"], ["new"], 100) == ()
    assert idleness.stale(["new"], [], 159) == ()
    assert idleness.stale(["new"], [], 160) == ("new",)


def test_zero_seconds_mean_never():
    idleness = Idleness(0)

    assert idleness.stale(["one"], [], 0) == idleness.stale(["one"], [], 1e9) == ()


# ---------------------------------------------------------------- what stays warm together


def shelf_with(device_mb, *, max_warm=4):
    begin = messages.Begin(device="cuda:0", engines="", max_warm=max_warm)
    room = Room(kind="cuda", device_mb=device_mb, ram_mb=100_000)
    checker = Checker(None, lambda model: lambda image: 0.0)
    return Shelf(low_memory_engine.build, begin, child.Line(io.BytesIO(), io.BytesIO()), checker, room=lambda: room)


def large(name, size_mb):
    return make_model(name, parts_mb={"unet": size_mb}, memory_mb=size_mb)


def test_models_stay_warm_as_long_as_the_device_holds_them():
    shelf = shelf_with(10_000)
    for name in ("one", "two", "three"):
        shelf.load(large(name, 3000), busy=frozenset())
    assert all(name in shelf for name in ("one", "two", "three"))

    shelf.load(large("four", 3000), busy=frozenset())

    assert "one" not in shelf
    assert all(name in shelf for name in ("two", "three", "four"))


def test_the_count_of_warm_models_has_a_limit_too():
    shelf = shelf_with(10_000, max_warm=2)

    for name in ("one", "two", "three"):
        shelf.load(large(name, 10), busy=frozenset())

    assert "one" not in shelf
    assert "two" in shelf
    assert "three" in shelf


def test_a_model_that_needs_the_place_of_a_busy_one_can_wait():
    shelf = shelf_with(10_000)
    shelf.load(large("busy", 6000), busy=frozenset())
    shelf.load(large("idle", 2000), busy=frozenset({"busy"}))

    assert shelf.can_load(large("busy", 6000), busy=frozenset({"busy"}))
    assert shelf.can_load(large("small", 3000), busy=frozenset({"busy"}))
    assert not shelf.can_load(large("large", 6000), busy=frozenset({"busy"}))
    assert shelf.can_load(large("large", 6000), busy=frozenset())


def test_the_config_and_the_shelf_have_one_opinion_of_what_fits():
    model = large("one", 8000)
    hardware = Hardware(devices=(("cuda:0", "cuda", 8000),), ram_mb=64_000, free_ram_mb=64_000, disk_free_mb=0)

    assert fit(model, hardware).place == "no"
    assert shelf_with(8000)._plan(model, []) is None
