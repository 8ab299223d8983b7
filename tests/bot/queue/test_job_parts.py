"""A job of several tasks: what its followers see, which previews there are, and its time limit."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from bot.commands import Imagine
from bot.errors import WorkerLost
from bot.models import IMAGE_SEGMENTATION, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import Progress, Task
from bot.queue.attempt import Attempt
from bot.queue.eta import EtaEstimator
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.queue.task_runner import TaskRunner
from tests.fakes import FakePool, make_done, make_job, make_model

MODEL = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), step_s=2.0, overhead_s=1.0, steps=10)
SEGMENTER = replace(MODEL, name="segmenter", tasks=(IMAGE_SEGMENTATION,), overhead_s=5.0)
PART = Task(id="job.region", command="imagine", task=IMAGE_SEGMENTATION, model=SEGMENTER, options={})
MAIN = Task(id="job", command="imagine", task="text-to-image", model=MODEL, options={"steps": 2})


class Prepare:
    async def prepare(self, task, run_part):
        await run_part(replace(PART, wants_previews=True))
        return task


class Remake:
    async def finish(self, task, output, run_part):
        await run_part(replace(task, id="job.detail"))
        return output


class Permissive:
    def apply_rules(self, output, rules):
        return output


class RecordingPool(FakePool):
    """`on_part`: called when the first task runs."""

    def __init__(self, on_part=lambda: None):
        super().__init__()
        self.tasks, self.on_part = [], on_part
        waiting, loading = Progress(step=0, steps=1, phase="waiting"), Progress(step=0, steps=1, phase="loading")
        self.scripts["job.region"] = [[waiting, loading, Progress(step=1, steps=1), make_done(seconds=30.0)]]
        self.scripts["job"] = [[Progress(step=step, steps=2, preview=b"p") for step in (1, 2)] + [make_done(seconds=9)]]
        self.scripts["job.detail"] = [[Progress(step=1, steps=4, preview=b"d"), make_done(seconds=1.0)]]

    async def run_task(self, task):
        self.tasks.append(task)
        if len(self.tasks) == 1:
            self.on_part()
        async with aclosing(super().run_task(task)) as events:
            async for event in events:
                yield event


class RecordingBus(ProgressBus):
    def __init__(self):
        super().__init__()
        self.seen = []

    def publish_progress(self, job_id, progress):
        self.seen.append(progress)


async def run_job(pool, bus):
    unused: Any = None
    moderation: Any = Permissive()
    runner = TaskRunner(
        media=unused, pool=pool, models=unused, postprocessor=unused, moderation=moderation, progress_bus=bus,
        prompt_resolver=unused, fairness_keys=unused, on_event=unused, preparations=[Prepare()], finishes=[Remake()],
    )  # fmt: skip
    return await runner.run_task(Attempt(make_job(id="job"), "cpu"), MAIN)


async def test_a_part_that_a_plugin_has_cost_its_worker_runs_again_and_only_the_jobs_own_task_is_its_result():
    pool = RecordingPool()
    done = pool.scripts["job.detail"]
    pool.scripts["job.detail"] = [[WorkerLost(was_alone=False, plugin="mark")], *done]

    await run_job(pool, RecordingBus())

    assert [(task.id, task.is_result) for task in pool.tasks] == [
        ("job.region", False),
        ("job", True),
        ("job.detail", False),
        ("job.detail", False),
    ]


async def test_the_progress_of_a_job_with_parts_never_goes_back():
    bus = RecordingBus()

    await run_job(RecordingPool(), bus)

    assert [(one.phase, one.step, one.steps) for one in bus.seen] == [
        ("waiting", 0, 0),
        ("loading", 0, 0),
        ("running", 0, 0),
        ("running", 1, 2),
        ("finishing", 2, 2),
        ("finishing", 2, 2),
    ]
    assert [one.preview for one in bus.seen] == [None] * 3 + [b"p", b"p", None], "a detail is no preview of the picture"


@pytest.mark.parametrize("is_watched_during_a_part", [True, False])
async def test_who_begins_to_watch_during_a_part_sees_previews_of_the_main_task(is_watched_during_a_part):
    bus = ProgressBus()
    watch = bus.follow_job("job")
    pool = RecordingPool(watch.__enter__ if is_watched_during_a_part else lambda: None)

    await run_job(pool, bus)

    wanted = {task.id: task.wants_previews for task in pool.tasks}
    assert wanted == {"job.region": False, "job": is_watched_during_a_part, "job.detail": False}


async def test_the_time_of_earlier_tasks_counts_towards_the_time_limit_of_the_job():
    pool = RecordingPool()

    output = await run_job(pool, ProgressBus())

    assert [task.past_s for task in pool.tasks] == [0.0, 30.0, 39.0]
    assert output.seconds == 40.0


def test_an_eta_knows_the_parts_of_a_job():
    models = ModelRegistry({one.name: one for one in (MODEL, SEGMENTER)})
    estimator = EtaEstimator(models, Rates(), list, 2)
    options = Imagine.from_options({"prompt": "a fox"}).fill_options(MODEL, 1)
    plain, detailed = (make_job(model=MODEL.name, options={**options, **more}) for more in ({}, {"detail": "a hat"}))
    without = EtaEstimator(ModelRegistry({MODEL.name: MODEL}), Rates(), list, 2)

    assert estimator.duration_s(plain, 1) == 21.0
    assert estimator.duration_s(detailed, 1) >= 21.0 + 5.0 + 1.0
    assert without.duration_s(detailed, 1) == 21.0, "its model was removed: the job will be refused"
