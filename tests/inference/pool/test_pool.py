"""The pool's normal operation, with a torch-free engine in real child processes.

Tests that leave nothing behind share one pool.
"""

import asyncio
import math
import time
from dataclasses import replace

import pytest
import pytest_asyncio

from bot.errors import ModelUnavailable
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import Measurement, ModelCapabilities, Offer, Progress, TaskOutput
from tests.inference.engines import PREVIEW
from tests.inference.support import collect, finish, make_model, make_task, open_pool, wait_until, wait_until_idle

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("forked_workers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pool():
    async with open_pool() as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module")
async def pool(shared_pool):
    """The shared pool, with nothing to do before and after the test."""
    await wait_until_idle(shared_pool)
    yield shared_pool
    await wait_until_idle(shared_pool)
    assert shared_pool.device_statuses()[0].restarts == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_devices():
    async with open_pool(devices=("cpu", "cpu")) as pool:
        await wait_until(lambda: len(pool.list_offers()) == 2)
        yield pool


async def test_a_task_reports_progress_for_each_step_and_then_its_image(pool):
    events = await collect(pool, make_task())

    steps = [(e.step, e.steps) for e in events if isinstance(e, Progress) and e.step]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(events[-1], TaskOutput)
    assert events[-1].images[0].media.data == bytes([0, 0, 7]) * 64
    assert events[-1].images[0].parameters.startswith("a fox\nSteps: 3, Sampler: Euler, ")


async def test_image_k_of_a_job_has_the_seed_plus_k(pool):
    output = await finish(pool, make_task(options={"count": 3}))

    assert [image.media.data[2] for image in output.images] == [7, 8, 9]
    assert "Seed: 9" in output.images[2].parameters


async def test_the_first_task_of_a_model_reports_loading_and_the_models_capabilities(pool):
    model = make_model("first")
    first = await collect(pool, make_task(model=model))
    second = await collect(pool, make_task(model=model))

    progress = [event for event in first if isinstance(event, Progress)]
    phases = [(one.phase, one.step, one.steps) for one in progress]
    assert list(dict.fromkeys(phases))[:3] == [("loading", 0, 3), ("running", 0, 3), ("running", 1, 3)]
    assert progress[0].load_s is not None
    assert 0 < progress[0].load_s <= model.expected_load_s
    assert ModelCapabilities(model="first", capabilities=make_capabilities()) in first
    assert [e.what for e in first if isinstance(e, Measurement)] == ["load", "step", "job"]
    assert isinstance(second[0], Progress)
    assert second[0].step == 1


def make_capabilities():
    return {
        "samplers": ["euler"],
        "options": ["prompt", "seed", "steps", "count"],
        "revision": "test",
        "dtype": "none",
        "checker": "missing",
    }


async def test_events_of_the_model_loaded_at_startup_go_to_the_first_task():
    async with open_pool(warm_up=True) as pool:
        await wait_until(lambda: pool.device_statuses()[0].loaded == ("test",))
        events = await collect(pool, make_task())
        has_imported = pool.device_statuses()[0].has_imported

    assert has_imported
    assert [e.what for e in events if isinstance(e, Measurement)] == ["import", "load", "step", "job"]
    assert not any(isinstance(e, Progress) and e.phase == "loading" for e in events)
    assert ModelCapabilities(model="test", capabilities=make_capabilities()) in events


async def test_a_model_that_cannot_be_loaded_at_startup_does_not_stop_the_device():
    async with open_pool([make_model("broken", repo="load-fail"), make_model()], warm_up=True) as pool:
        await wait_until(lambda: pool.device_statuses()[0].has_imported)
        events = await collect(pool, make_task())

    assert events[-1].images
    assert [e.what for e in events if isinstance(e, Measurement)] == ["import", "load", "step", "job"]


async def test_a_device_offers_its_models():
    async with open_pool([make_model("one"), make_model("two")]) as pool:
        await finish(pool, make_task(model=make_model("two")))
        (offer,) = pool.list_offers()

    expected = Offer(
        device="cpu", models=frozenset({"one", "two"}), loaded=frozenset({"two"}), free_slots=16, is_idle=True
    )
    assert replace(offer, since_load_s=math.inf) == expected
    assert 0 <= offer.since_load_s < 30


async def test_a_busy_device_offers_nothing(pool):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(finish(pool, make_task("sleep=0.1")))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        busy = pool.list_offers()
        await running
        await wait_until(pool.list_offers)

    assert busy == []


async def test_two_devices_run_two_tasks_concurrently(two_devices):
    await wait_until_idle(two_devices)
    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(finish(two_devices, make_task("sleep=0.2", id=name)))
        await wait_until(lambda: [status.running for status in two_devices.device_statuses()] == [1, 1])


async def test_a_task_goes_to_the_device_that_has_its_model_loaded(two_devices):
    await wait_until_idle(two_devices)
    for _ in range(4):
        await finish(two_devices, make_task(model=make_model("two")))

    assert ["two" in status.loaded for status in two_devices.device_statuses()].count(True) == 1


async def test_the_least_recently_used_model_is_evicted_for_a_new_one():
    models = [make_model(name) for name in ("one", "two", "three")]
    async with open_pool(models, max_loaded_models=2) as pool:
        for name in ("one", "two", "one", "three"):
            await finish(pool, make_task(model=make_model(name)))
        loaded = pool.device_statuses()[0].loaded

    assert loaded == ("one", "three")


async def test_models_that_exceed_the_memory_limit_together_do_not_stay_loaded_together():
    models = [make_model(name, memory_mb=600) for name in ("one", "two")]
    async with open_pool(models, loaded_models_mb=1000) as pool:
        for model in models:
            await finish(pool, make_task(model=model))
        loaded = pool.device_statuses()[0].loaded

    assert loaded == ("two",)


async def test_previews_are_made_only_on_request(pool):
    def previews(events):
        return [e.preview for e in events if isinstance(e, Progress) and e.step]

    without = previews(await collect(pool, make_task()))
    requested = previews(await collect(pool, make_task(wants_previews=True)))
    requested_later = []
    async for event in pool.run_task(make_task("sleep=0.05 steps=20", id="later")):
        requested_later.append(event)
        pool.set_previews("later", True)

    assert without == [None, None, None]
    assert requested == [PREVIEW] * 3
    assert previews(requested_later)[0] is None
    assert previews(requested_later)[-1] == PREVIEW


async def test_a_question_is_answered_with_text(pool):
    task = make_task(
        task=VISUAL_QUESTION_ANSWERING, options={"question": "What is it?", "prompt": "", "max_new_tokens": 3}
    )
    output = await finish(pool, task)

    assert output.text == "answer: What is it?"


async def test_a_missing_model_fails_its_task_and_nothing_else(pool):
    with pytest.raises(ModelUnavailable) as refused:
        await collect(pool, make_task(model=make_model("gone", repo="load-fail")))
    output = await finish(pool, make_task())

    assert refused.value.model == "gone"
    assert output.images
    assert pool.device_statuses()[0].restarts == 0


async def test_the_end_of_a_task_wakes_those_who_wait_for_a_change(pool):
    await pool.wait_for_change()
    waiting = asyncio.create_task(pool.wait_for_change())
    await asyncio.sleep(0.02)
    is_quiet = not waiting.done()
    await finish(pool, make_task())
    await asyncio.wait_for(waiting, 30)

    assert is_quiet


async def test_devices_can_be_found_after_startup():
    async def find_devices():
        await asyncio.sleep(0.05)
        return ["cpu"]

    async with open_pool(devices=find_devices) as pool:
        assert pool.device_statuses()[0].device == "cpu"


async def test_time_spent_loading_is_not_device_time(pool):
    output = await finish(pool, make_task("sleep=0.01", model=make_model("slow", repo="load=0.8")))

    assert 0.03 <= output.seconds < 0.8


async def test_the_loop_stays_responsive_while_a_child_starts_loads_and_computes():
    lags = []

    async def measure():
        while True:
            started_at = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - started_at - 0.005)

    async with open_pool() as pool:
        measuring = asyncio.create_task(measure())
        await collect(pool, make_task("sleep=0.01 steps=20", model=make_model("slow", repo="load=0.2")))
        measuring.cancel()

    assert sorted(lags)[len(lags) // 2] < 0.05


async def test_a_loaded_model_is_offered_as_many_concurrent_tasks_as_it_supports():
    model = make_model(repo="slots=3")
    async with open_pool([model]) as pool:
        cold = pool.list_offers()[0]
        cold_reserved = pool.list_offers({"cpu": ["test"]})
        await finish(pool, make_task(model=model))
        await wait_until(pool.list_offers)
        loaded, remaining = pool.list_offers()[0], pool.list_offers({"cpu": ["test", "test"]})[0]
        full = pool.list_offers({"cpu": ["test"] * 3})

    assert cold.models == loaded.models == remaining.models == frozenset({"test"})
    assert cold_reserved == full == []
    assert (loaded.is_idle, remaining.is_idle) == (True, False)


async def test_several_tasks_share_a_device_and_each_is_charged_its_share_of_the_time(pool):
    model = make_model("batching", repo="slots=3")
    await finish(pool, make_task(model=model))
    started_at = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(finish(pool, make_task("sleep=0.05", id=f"job{n}", model=model, options={"seed": n})))
            for n in range(3)
        ]
    elapsed_s = time.monotonic() - started_at
    outputs = [task.result() for task in tasks]

    assert [output.images[0].media.data[2] for output in outputs] == [0, 1, 2]
    assert sum(output.seconds for output in outputs) <= elapsed_s


async def test_an_offer_names_the_models_that_must_wait_until_the_device_is_idle(tmp_path):
    models = [make_model("one", repo="slots=2"), make_model("two")]
    async with open_pool(models, max_loaded_models=1) as pool:
        await finish(pool, make_task(model=models[0]))
        running = asyncio.create_task(finish(pool, make_task(f"wait-for={tmp_path / 'go'}", model=models[0])))
        await wait_until(lambda: pool.device_statuses()[0].running == 1)
        (offer,) = pool.list_offers()
        running.cancel()

    assert (offer.models, offer.deferred, offer.full) == (frozenset({"one"}), frozenset({"two"}), frozenset())


async def test_nothing_is_offered_beside_a_task_that_must_run_alone(pool, tmp_path):
    go = tmp_path / "go"
    model = make_model("batching", repo="slots=3")
    await finish(pool, make_task(model=model))
    task = make_task(f"wait-for={go} steps=1", model=model, is_exclusive=True)
    running = asyncio.create_task(finish(pool, task))
    await wait_until(lambda: pool.device_statuses()[0].running == 1)
    offers = pool.list_offers()
    go.touch()
    await running

    assert offers == []


async def test_a_new_child_starts_with_the_measurements_of_its_device():
    fields = {"model": "test", "dtype": "none", "shape": "8x8", "what": "step"}
    early = Measurement(device="cpu", batch_size=4, seconds=0.5, **fields)
    elsewhere = Measurement(device="cuda:0", batch_size=1, seconds=0.5, **fields)
    async with open_pool(measurements=[early, elsewhere]) as pool:
        events = await collect(pool, make_task("sleep=0.01"))
        known = pool._devices[0]._init_message().measurements

    [step] = [event for event in events if isinstance(event, Measurement) and event.what == "step"]
    assert {early, step} <= set(known)
    assert elsewhere not in known
