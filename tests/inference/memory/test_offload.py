"""Memory that runs out, models that are idle, and requests to free memory."""

import asyncio
import io

import pytest
import pytest_asyncio

from bot.errors import OutOfMemory
from bot.memory.fit import MachineSpec, estimate_fit
from bot.memory.placement import MemoryBudget
from bot.ports import Progress
from inference.ipc import child, messages
from inference.pool.idle_unload import IdleTracker
from inference.safety.checker import SafetyChecker
from inference.worker.model_cache import ModelCache
from tests.inference import low_memory_engine
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

LOW_MEMORY = "tests.inference.low_memory_engine:build"
pytestmark = pytest.mark.usefixtures("forked_workers")
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pool():
    async with open_pool(engine_factory=LOW_MEMORY) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def pool(shared_pool):
    """The shared pool without a loaded model. Its child remembers fallback levels by the model's name."""
    await wait_until_idle(shared_pool)
    await shared_pool.unload_idle_models()
    return shared_pool


def task_of(repo, name="model", **fields):
    return make_task(model=make_model(name, repo=repo), **fields)


def steps_made(events):
    return [event.step for event in events if isinstance(event, Progress) and event.step]


def restarts(pool):
    return pool.device_statuses()[0].restarts


@in_one_loop
async def test_a_job_that_runs_out_of_memory_is_retried_at_the_next_fallback_level(pool):
    before = restarts(pool)
    events = await collect(pool, task_of("needs=2 levels=3", "retried"))

    assert events[-1].notes == ("level 2",)
    assert steps_made(events) == [1, 1, 1, 2, 3]
    assert restarts(pool) == before


@in_one_loop
async def test_images_made_before_memory_ran_out_are_not_returned_twice(pool):
    output = await finish(pool, task_of("needs=1 levels=1", "several", options={"count": 3, "seed": 7}))

    assert [image.media.data[0] for image in output.images] == [0, 0, 0]
    assert [image.media.data[2] for image in output.images] == [7, 8, 9]


async def test_fallback_levels_are_remembered_when_the_model_is_loaded_again():
    async with open_pool(engine_factory=LOW_MEMORY, max_loaded_models=1) as pool:
        await finish(pool, task_of("needs=2 levels=3"))
        await finish(pool, task_of("", "other"))
        events = await collect(pool, task_of("needs=2 levels=3"))

    assert steps_made(events) == [1, 2, 3]


@in_one_loop
async def test_other_models_are_unloaded_before_a_model_uses_less_memory(pool):
    await finish(pool, task_of("", "other"))
    output = await finish(pool, task_of("needs=1 levels=1", "last"))

    assert pool.device_statuses()[0].loaded == ("last",)
    assert output.notes == ("level 1",)


@in_one_loop
async def test_after_the_last_fallback_level_the_job_fails_and_the_child_is_restarted(pool):
    pid, before = child_pid(pool), restarts(pool)
    with pytest.raises(OutOfMemory):
        await collect(pool, task_of("needs=9 levels=2", "hopeless"))
    await wait_until(lambda: restarts(pool) == before + 1 and pool.list_offers())
    output = await finish(pool, task_of("", "other"))

    assert child_pid(pool) != pid
    assert output.images


@in_one_loop
async def test_a_model_that_does_not_fit_is_loaded_after_the_others_are_unloaded(pool):
    await finish(pool, task_of("", "other"))
    output = await finish(pool, task_of("load-needs=1", "large"))

    assert output.images
    assert pool.device_statuses()[0].loaded == ("large",)


# ---------------------------------------------------------------- freeing memory


@in_one_loop
async def test_memory_is_freed_on_request(pool):
    await finish(pool, task_of("", "one"))
    await finish(pool, task_of("", "two"))

    result = await pool.unload_idle_models()
    loaded = pool.device_statuses()[0].loaded
    output = await finish(pool, task_of("", "one"))

    assert set(result.models) == {"one", "two"}
    assert result.busy == loaded == ()
    assert output.images


async def test_a_model_with_a_running_job_stays_loaded():
    async with open_pool() as pool:
        working = asyncio.create_task(finish(pool, make_task("sleep=0.05 steps=12", model=make_model("busy"))))
        await wait_until(lambda: pool.device_statuses()[0].loaded == ("busy",))
        result = await pool.unload_idle_models()
        output = await working

    assert result.models == ()
    assert result.busy == ("busy",)
    assert output.images


@in_one_loop
async def test_freeing_memory_returns_when_there_is_no_child(pool, monkeypatch):
    monkeypatch.setattr(pool._devices[0], "_state", "restarting")

    assert (await pool.unload_idle_models()).models == ()


async def test_a_model_that_is_not_used_is_unloaded():
    clock = ManualClock()
    async with open_pool(engine_factory=LOW_MEMORY, idle_unload_s=60, cancel_grace_s=0.1, clock=clock) as pool:
        await finish(pool, task_of("", "one"))
        await clock.advance(pool, 1)  # the watchdog sees the model, if it has not yet
        await clock.advance(pool, 58)
        is_kept = pool.device_statuses()[0].loaded == ("one",)
        await clock.advance(pool, 3)
        await wait_until(lambda: pool.device_statuses()[0].loaded == ())
        output = await finish(pool, task_of("", "one"))

    assert is_kept
    assert output.images


def test_only_a_model_that_was_not_used_for_that_long_is_idle():
    tracker = IdleTracker(60)
    tracker.mark_used("old", 0)

    assert tracker.idle_models(["old", "new"], [], 59) == ()
    assert tracker.idle_models(["old", "new"], [], 61) == ("old",)
    assert tracker.idle_models(["old", "new"], ["new"], 100) == ()
    assert tracker.idle_models(["new"], [], 159) == ()
    assert tracker.idle_models(["new"], [], 160) == ("new",)


def test_zero_seconds_mean_never():
    tracker = IdleTracker(0)

    assert tracker.idle_models(["one"], [], 0) == tracker.idle_models(["one"], [], 1e9) == ()


# ---------------------------------------------------------------- models that stay loaded together


def make_cache(device_mb, *, max_loaded_models=4, checker=None, outgoing=None):
    init = messages.Init(device="cuda:0", engine_factory="", max_loaded_models=max_loaded_models)
    budget = MemoryBudget(kind="cuda", device_mb=device_mb, ram_mb=100_000)
    return ModelCache(
        low_memory_engine.build,
        init,
        child.PipeConnection(io.BytesIO(), outgoing or io.BytesIO()),
        checker or SafetyChecker((), lambda model: lambda image: 0.0),
        memory_budget=lambda: budget,
    )


def large(name, size_mb):
    return make_model(name, components_mb={"unet": size_mb}, memory_mb=size_mb, quantize="none")


def test_models_stay_loaded_while_the_device_has_memory_for_them():
    cache = make_cache(10_000)
    for name in ("one", "two", "three"):
        cache.load_model(large(name, 3000), busy=frozenset())
    assert all(name in cache for name in ("one", "two", "three"))

    cache.load_model(large("four", 3000), busy=frozenset())

    assert "one" not in cache
    assert all(name in cache for name in ("two", "three", "four"))


@pytest.mark.parametrize(("has_classified", "measured"), [(False, ["import", "load"]), (True, ["load"])])
def test_the_import_is_measured_once_unless_the_classifier_has_made_it(has_classified, measured):
    outgoing = io.BytesIO()
    checker = SafetyChecker((), lambda model: lambda image: 0.0)
    checker.has_imported = has_classified
    cache = make_cache(10_000, checker=checker, outgoing=outgoing)

    for name in ("one", "two"):
        cache.load_model(large(name, 10), busy=frozenset())

    outgoing.seek(0)
    sent = [messages.read_message(outgoing) for _ in range(4)]
    assert [[one.what for one in message.measurements] for message in sent[1::2]] == [measured, ["load"]]


def test_the_number_of_loaded_models_is_limited_as_well():
    cache = make_cache(10_000, max_loaded_models=2)

    for name in ("one", "two", "three"):
        cache.load_model(large(name, 10), busy=frozenset())

    assert "one" not in cache
    assert "two" in cache
    assert "three" in cache


def test_a_model_that_needs_the_memory_of_a_busy_one_must_wait():
    cache = make_cache(10_000)
    cache.load_model(large("busy", 6000), busy=frozenset())
    cache.load_model(large("idle", 2000), busy=frozenset({"busy"}))

    assert cache.can_load(large("busy", 6000), busy=frozenset({"busy"}))
    assert cache.can_load(large("small", 3000), busy=frozenset({"busy"}))
    assert not cache.can_load(large("large", 6000), busy=frozenset({"busy"}))
    assert cache.can_load(large("large", 6000), busy=frozenset())


def test_the_settings_and_the_cache_agree_on_what_fits():
    model = large("one", 8000)
    hardware = MachineSpec(devices=(("cuda:0", "cuda", 8000),), ram_mb=64_000, free_ram_mb=64_000, disk_free_mb=0)

    assert estimate_fit(model, hardware).place == "no"
    assert make_cache(8000)._plan_beside(model, []) is None
