"""What the pool does when all goes well: with a torch-free engine in real child processes."""

import asyncio
import math
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from bot.errors import ModelUnavailable
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import Described, Done, Measured, Offer, Progress
from inference.ipc.process import ROOT
from tests.inference.engines import PREVIEW
from tests.inference.support import collect, finish, make_model, make_task, open_pool, until


async def test_a_task_gives_progress_for_each_step_and_then_its_picture():
    async with open_pool() as pool:
        events = await collect(pool, make_task())

    steps = [(e.step, e.steps) for e in events if isinstance(e, Progress) and e.note == ""]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(events[-1], Done)
    assert events[-1].pictures[0].media.data == bytes([0, 0, 7]) * 64
    assert events[-1].pictures[0].parameters.startswith("a fox\nSteps: 3, Sampler: euler, ")


async def test_picture_k_of_a_job_has_the_seed_plus_k():
    async with open_pool() as pool:
        done = await finish(pool, make_task(options={"count": 3}))

    assert [picture.media.data[2] for picture in done.pictures] == [7, 8, 9]
    assert "Seed: 9" in done.pictures[2].parameters


async def test_the_first_run_of_a_model_says_that_it_loads_and_what_the_model_is():
    async with open_pool() as pool:
        first = await collect(pool, make_task())
        second = await collect(pool, make_task())

    assert first[0] == Progress(step=0, steps=3, note="loading")
    assert Described(model="test", form=make_form()) in first
    assert [e.what for e in first if isinstance(e, Measured)] == ["load", "step", "job"]
    assert isinstance(second[0], Progress)
    assert second[0].step == 1


def make_form():
    return {
        "samplers": ["euler"],
        "options": ["prompt", "seed", "steps", "count"],
        "revision": "test",
        "dtype": "none",
        "checker": "missing",
    }


async def test_the_first_model_is_loaded_at_start_and_what_was_learned_then_is_not_lost():
    async with open_pool(warm_up=True) as pool:
        await until(lambda: pool.statuses()[0].warm == ("test",))
        events = await collect(pool, make_task())

    assert not any(isinstance(e, Progress) and e.note == "loading" for e in events)
    assert Described(model="test", form=make_form()) in events


async def test_a_model_that_cannot_be_loaded_at_start_does_not_stop_the_device():
    async with open_pool([make_model("broken", repo="load-fail"), make_model()], warm_up=True) as pool:
        done = await finish(pool, make_task())

    assert done.pictures


async def test_a_device_offers_its_models():
    async with open_pool([make_model("one"), make_model("two")]) as pool:
        await finish(pool, make_task(model=make_model("two")))
        (offer,) = pool.offers()

    plain = Offer(device="cpu", models=frozenset({"one", "two"}), warm=frozenset({"two"}), free=16, idle=True)
    assert replace(offer, settled_s=math.inf) == plain
    assert 0 <= offer.settled_s < 30


async def test_a_device_that_computes_offers_nothing():
    async with open_pool() as pool, asyncio.TaskGroup() as group:
        running = group.create_task(finish(pool, make_task("sleep=0.1")))
        await until(lambda: pool.statuses()[0].running == 1)
        busy = pool.offers()
        await running
        await until(pool.offers)

    assert busy == []


async def test_two_devices_run_two_tasks_at_once():
    async with open_pool(devices=("cpu", "cpu")) as pool:
        await until(lambda: len(pool.offers()) == 2)
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b"):
                group.create_task(finish(pool, make_task("sleep=0.2", id=name)))
            await until(lambda: [s.running for s in pool.statuses()] == [1, 1])


async def test_a_task_goes_to_the_device_that_has_its_model_warm():
    async with open_pool([make_model("one"), make_model("two")], devices=("cpu", "cpu")) as pool:
        await until(lambda: len(pool.offers()) == 2)
        await finish(pool, make_task(model=make_model("two")))
        for _ in range(3):
            await finish(pool, make_task(model=make_model("two")))

    assert [status.warm for status in pool.statuses()].count(("two",)) <= 1


async def test_the_least_recently_used_model_makes_room_for_a_new_one():
    models = [make_model(name) for name in ("one", "two", "three")]
    async with open_pool(models, max_warm=2) as pool:
        for name in ("one", "two", "one", "three"):
            await finish(pool, make_task(model=make_model(name)))
        warm = pool.statuses()[0].warm

    assert warm == ("one", "three")


async def test_models_that_need_too_much_memory_together_do_not_stay_together():
    models = [make_model(name, memory_mb=600) for name in ("one", "two")]
    async with open_pool(models, warm_memory_mb=1000) as pool:
        for model in models:
            await finish(pool, make_task(model=model))
        warm = pool.statuses()[0].warm

    assert warm == ("two",)


async def test_previews_are_made_only_while_somebody_watches():
    def previews(events):
        return [e.preview for e in events if isinstance(e, Progress) and e.note == ""]

    async with open_pool() as pool:
        unseen = previews(await collect(pool, make_task()))
        seen = previews(await collect(pool, make_task(watched=True)))
        turned_on = []
        async for event in pool.run(make_task("sleep=0.05 steps=20", id="later")):
            turned_on.append(event)
            pool.watch("later", True)

    assert unseen == [None, None, None]
    assert seen == [PREVIEW] * 3
    assert previews(turned_on)[0] is None
    assert previews(turned_on)[-1] == PREVIEW


async def test_a_question_gets_a_text():
    task = make_task(
        task=VISUAL_QUESTION_ANSWERING, options={"question": "What is it?", "prompt": "", "max_new_tokens": 3}
    )
    async with open_pool() as pool:
        done = await finish(pool, task)

    assert done.text == "answer: What is it?"


async def test_a_missing_model_fails_its_task_and_nothing_else():
    async with open_pool() as pool:
        with pytest.raises(ModelUnavailable) as refused:
            await collect(pool, make_task(model=make_model("gone", repo="load-fail")))
        done = await finish(pool, make_task())

    assert refused.value.model == "gone"
    assert done.pictures
    assert pool.statuses()[0].restarts == 0


async def test_whoever_waits_for_a_change_hears_of_the_end_of_a_task():
    async with open_pool() as pool:
        await pool.wait_for_change()
        waiting = asyncio.create_task(pool.wait_for_change())
        await asyncio.sleep(0.02)
        is_quiet = not waiting.done()
        await finish(pool, make_task())
        await asyncio.wait_for(waiting, 1)

    assert is_quiet


async def test_devices_may_be_found_out_after_the_start():
    async def find():
        await asyncio.sleep(0.05)
        return ["cpu"]

    async with open_pool(devices=find) as pool:
        assert pool.statuses()[0].device == "cpu"


async def test_time_spent_loading_is_not_device_time():
    async with open_pool() as pool:
        done = await finish(pool, make_task("sleep=0.01", model=make_model("slow", repo="load=0.4")))

    assert 0.03 <= done.seconds < 0.4


async def test_the_loop_stays_responsive_while_a_child_starts_loads_and_computes():
    lags = []

    async def measure():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - began - 0.005)

    async with open_pool() as pool:
        measuring = asyncio.create_task(measure())
        await collect(pool, make_task("sleep=0.01 steps=20", model=make_model("slow", repo="load=0.2")))
        measuring.cancel()

    assert sorted(lags)[len(lags) // 2] < 0.05


PARENT = """
import asyncio, sys
from tests.inference.support import collect, make_task, open_pool

async def main():
    async with open_pool() as pool:
        await collect(pool, make_task())

asyncio.run(main())
print([name for name in ("torch", "numpy", "PIL", "diffusers", "transformers") if name in sys.modules])
"""


def test_the_parent_process_imports_neither_torch_nor_pillow():
    said = subprocess.run(
        [sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert said.stdout.splitlines()[-1] == "[]"


async def test_a_model_gets_as_many_tasks_at_once_as_it_says_once_it_is_loaded():
    model = make_model(repo="rows=3")
    async with open_pool([model]) as pool:
        cold = pool.offers()[0]
        promised = pool.offers({"cpu": ["test"]})
        await finish(pool, make_task(model=model))
        await until(pool.offers)
        warm, rest = pool.offers()[0], pool.offers({"cpu": ["test", "test"]})[0]
        full = pool.offers({"cpu": ["test"] * 3})

    assert cold.models == warm.models == rest.models == frozenset({"test"})
    assert promised == full == []
    assert (warm.idle, rest.idle) == (True, False)


async def test_several_tasks_share_a_device_and_each_is_told_its_own_part_of_the_time():
    model = make_model(repo="rows=3")
    async with open_pool([model]) as pool:
        await finish(pool, make_task(model=model))
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(finish(pool, make_task("sleep=0.05", id=f"job{n}", model=model, options={"seed": n})))
                for n in range(3)
            ]
        elapsed_s = time.monotonic() - began
    done = [task.result() for task in tasks]

    assert [one.pictures[0].media.data[2] for one in done] == [0, 1, 2]
    assert sum(one.seconds for one in done) <= elapsed_s


async def test_a_device_says_which_models_must_wait_until_it_is_idle(tmp_path):
    models = [make_model("one", repo="rows=2"), make_model("two")]
    async with open_pool(models, max_warm=1) as pool:
        await finish(pool, make_task(model=models[0]))
        running = asyncio.create_task(finish(pool, make_task(f"wait-for={tmp_path / 'go'}", model=models[0])))
        await until(lambda: pool.statuses()[0].running == 1)
        (offer,) = pool.offers()
        running.cancel()

    assert (offer.models, offer.later, offer.full) == (frozenset({"one"}), frozenset({"two"}), frozenset())


async def test_nothing_is_offered_beside_a_task_that_must_be_alone(tmp_path):
    model = make_model(repo="rows=3")
    async with open_pool([model]) as pool:
        await finish(pool, make_task(model=model))
        task = make_task(f"wait-for={tmp_path / 'go'}", model=model, alone=True)
        running = asyncio.create_task(finish(pool, task))
        await until(lambda: pool.statuses()[0].running == 1)
        offers = pool.offers()
        running.cancel()

    assert offers == []


async def test_a_new_child_is_told_what_was_measured_on_its_device():
    plain = {"model": "test", "dtype": "none", "shape": "8x8", "what": "step"}
    early = Measured(device="cpu", rows=4, seconds=0.5, **plain)
    elsewhere = Measured(device="cuda:0", rows=1, seconds=0.5, **plain)
    async with open_pool(rates=[early, elsewhere]) as pool:
        events = await collect(pool, make_task("sleep=0.01"))
        told = pool._devices[0]._begin().rates

    [step] = [event for event in events if isinstance(event, Measured) and event.what == "step"]
    assert {early, step} <= set(told)
    assert elsewhere not in told
