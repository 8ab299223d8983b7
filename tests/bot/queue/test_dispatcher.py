"""Claiming, running and recording jobs, with a scripted pool and a store that allows only valid transitions."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.errors import (
    EngineError,
    EngineTimeout,
    Interrupted,
    InvalidOption,
    JobCancelled,
    ModelUnavailable,
    OutOfMemory,
    StorageBusy,
    StorageFull,
    WorkerLost,
)
from bot.jobs import ImageRef, JobState, Media
from bot.models import ModelRegistry
from bot.ports import LeaseRenewal, Measurement, ModelCapabilities, Progress, PromptAddon, TaskAddon, WorkMetrics
from bot.prompts.resolver import PromptResolver
from bot.queue import dispatcher as dispatch
from bot.queue.attempt import FairnessKeys
from bot.queue.dispatcher import Dispatcher
from bot.queue.postprocess import Postprocessor
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.settings.core import QueueSettings
from tests.fakes import (
    FakeImageProcessor,
    FakeJobStore,
    FakeMeasurementStore,
    FakeMediaStore,
    FakePool,
    eventually,
    make_chat_job,
    make_done,
    make_job,
    make_model,
    make_origin,
    media_id,
)
from tests.moderation import Unmoderated

STEP = Progress(step=1, steps=2)
MEASURED = Measurement(
    device="cpu", model="fox-diffusion", dtype="f", shape="8x8", batch_size=1, what="step", seconds=0.5
)
DESCRIBED = ModelCapabilities(model="fox-diffusion", capabilities={"samplers": ["euler"]})


@dataclass
class Harness:
    """A dispatcher with fakes; `build` takes its settings."""

    store: FakeJobStore = field(default_factory=FakeJobStore)
    media: FakeMediaStore = field(default_factory=FakeMediaStore)
    learned: FakeMeasurementStore = field(default_factory=FakeMeasurementStore)
    pool: FakePool = field(default_factory=FakePool)
    pictures: FakeImageProcessor = field(default_factory=FakeImageProcessor)
    models: ModelRegistry = field(default_factory=lambda: ModelRegistry({"fox-diffusion": make_model()}))
    rates: Rates = field(default_factory=Rates)
    events: ProgressBus = field(default_factory=ProgressBus)
    moderation: Any = field(default_factory=Unmoderated)
    wording: PromptResolver = field(default_factory=PromptResolver)
    finished: list[Any] = field(default_factory=list)
    metrics: WorkMetrics = field(default_factory=WorkMetrics)

    def build(self, *, only_submitted=False, **settings):
        self.dispatcher = Dispatcher(
            store=self.store,
            media=self.media,
            measurements=self.learned,
            pool=self.pool,
            models=self.models,
            rates=self.rates,
            postprocessor=Postprocessor(
                media=self.media, pool=self.pool, image_processor=self.pictures, models=self.models
            ),
            moderation=self.moderation,
            progress_bus=self.events,
            settings=QueueSettings(**settings),
            prompt_resolver=self.wording,
            on_finished=self.finished.append,
            metrics=self.metrics,
            only_submitted=only_submitted,
        )
        return self.dispatcher

    @asynccontextmanager
    async def running(self, **options):
        dispatcher = self.build(**options)
        running = asyncio.create_task(dispatcher.run_forever())
        try:
            yield dispatcher
            assert not running.done() or dispatcher._is_closing, "the dispatcher ended by itself"
        finally:
            await dispatcher.close(0.0)
            async with asyncio.timeout(20):
                await running

    async def work_off(self, *jobs, **options):
        """Run until all of the jobs have ended; returns them."""
        self.store.add(*jobs)
        async with self.running(**options):
            await eventually(lambda: all(self.store.state(job).is_final for job in jobs))
        return [self.store.jobs[job.id] for job in jobs]

    def script(self, job, *items, then=None):
        """Script the job's runs: `items` for the first, `then` for later ones (default: the same)."""
        self.pool.scripts[job.id] = [list(items)] + ([list(then)] if then else [])


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(dispatch, "STORAGE_RETRY_S", 0.005)
    monkeypatch.setattr(dispatch, "CRASH_DELAY_S", 0.0)
    monkeypatch.setattr(dispatch, "FINAL_STORE_S", 0.05)


@pytest.fixture
def harness():
    return Harness()


# ---------------------------------------------------------------- the good end


async def test_a_queued_job_is_run_and_rendered(harness):
    (job,) = await harness.work_off(make_job())

    assert job.state is JobState.RENDERED
    assert harness.store.captures == [job.id]
    assert [ended.id for ended in harness.finished] == [job.id]


async def test_a_task_brings_the_files_that_its_prompt_names_and_no_others(harness):
    kept = [PromptAddon(name=name, kind="lora", family="", size=1, path=f"/{name}") for name in ("ink", "film")]
    harness.wording = PromptResolver(list_addons=lambda: kept)
    await harness.work_off(make_job(options={**make_job().options, "prompt": "a fox <lora:ink:0.5>"}))

    (asked,) = harness.pool.called("run_task")
    assert asked.task.addons == (TaskAddon("ink", "lora", "/ink"),)


async def test_a_job_whose_lora_was_removed_ends_with_a_sentence(harness):
    (job,) = await harness.work_off(make_job(options={**make_job().options, "prompt": "a fox <lora:ink:0.5>"}))

    assert (job.state, job.error.code) == (JobState.FAILED, "invalid_option")
    assert "ink" in job.error.message


async def test_the_file_is_written_before_the_result_is_recorded(harness):
    (job,) = await harness.work_off(make_job())

    assert harness.media.called("write_file")
    assert job.result.media[0].id in harness.media.files


async def test_a_result_has_everything_needed_to_reproduce_it(harness):
    (job,) = await harness.work_off(make_job())

    result = job.result
    assert (result.seed, result.model, result.revision, result.seconds) == (7, "fox-diffusion", "r1", 1.5)
    assert result.parameters == "a fox\nSteps: 2"
    assert (result.media[0].width, result.media[0].size, result.media[0].alt) == (512, 5, "a fox")


async def test_a_text_result_has_no_pictures(harness):
    job = make_job(command="caption", options={"seed": 3})
    harness.script(job, make_done(images=(), text="a red fox"))

    (ended,) = await harness.work_off(job)

    assert (ended.result.text, ended.result.media, ended.result.parameters) == ("a red fox", (), "")


async def test_a_demo_result_says_that_it_is_one(harness):
    harness.models = ModelRegistry({"fox-diffusion": make_model(demo=True)})

    (job,) = await harness.work_off(make_job())

    assert any("Demo model" in note for note in job.result.notes)


async def test_the_pool_gets_the_task_with_its_pictures_and_no_person(harness):
    await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    job = make_job(images=(ImageRef(media_id(b"photo"), "init"),))

    await harness.work_off(job)

    task = harness.pool.called("run_task")[0].task
    assert (task.id, task.options, task.images[0].media.data) == (job.id, job.options, b"photo")
    assert "ann" not in repr(task)


async def test_the_pool_can_distinguish_people_without_identifying_them(harness):
    jobs = [make_job(), make_job(), make_job(owner="bob"), make_job(origin=make_origin(space_id="guild"))]

    await harness.work_off(*jobs)

    shares = {call.task.id: call.task.fairness_key for call in harness.pool.called("run_task")}
    first, same, other, elsewhere = (shares[job.id] for job in jobs)
    assert first == same
    assert len({first, other, elsewhere}) == 3
    assert all(len(share) == 16 and int(share, 16) >= 0 for share in shares.values())


def test_after_a_restart_people_have_other_keys():
    job = make_job()

    assert FairnessKeys().key_for(job) != FairnessKeys().key_for(job)


async def test_progress_is_passed_on(harness):
    job, gate = make_job(), asyncio.Event()
    harness.script(job, STEP, gate, make_done())
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.events.latest_progress(job.id) == STEP)


async def test_measurements_and_capabilities_apply_immediately_and_are_stored(harness):
    job = make_job()
    harness.script(job, MEASURED, DESCRIBED, make_done())

    await harness.work_off(job)

    assert harness.rates.step_s(make_model(), {"width": 8, "height": 8}, 64) == 0.5
    assert harness.models.get("fox-diffusion").known_samplers == ("euler",)
    assert harness.learned.measured == [MEASURED]
    assert harness.learned.described == {"fox-diffusion": {"samplers": ["euler"]}}


async def test_followers_are_notified_of_the_claim_and_of_the_end(harness):
    job = make_job()
    with harness.events.follow_job(job.id) as follower:
        await harness.work_off(job)

        assert (await follower.next())[0]


async def test_the_pool_learns_which_tasks_are_watched(harness):
    job, gate = make_job(), asyncio.Event()
    harness.script(job, STEP, gate)
    harness.store.add(job)
    async with harness.running():
        await eventually(lambda: harness.pool.running)
        with harness.events.follow_job(job.id):
            pass

    assert harness.pool.watched == [(job.id, True), (job.id, False)]


async def test_a_watched_job_is_watched_from_its_start(harness):
    job = make_job()
    with harness.events.follow_job(job.id):
        await harness.work_off(job)

    assert harness.pool.called("run_task")[0].task.wants_previews


# ---------------------------------------------------------------- claiming


async def test_no_more_is_claimed_than_the_pool_offers(harness):
    jobs = [make_job(owner=f"p{number}") for number in range(5)]
    gate = asyncio.Event()
    for job in jobs:
        harness.script(job, gate, make_done())
    harness.store.add(*jobs)
    harness.pool.devices = {"cpu": 2}

    async with harness.running():
        await eventually(lambda: len(harness.pool.running) == 2)
        await asyncio.sleep(0.02)
        states = [harness.store.state(job) for job in jobs]

    assert states.count(JobState.RUNNING) == 2


async def test_a_job_that_is_still_being_prepared_counts(harness):
    harness.media.gates["read_media"] = asyncio.Event()
    await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    jobs = [make_job(owner="ann", images=(ImageRef(media_id(b"photo")),)), make_job(owner="bob")]
    harness.store.add(*jobs)

    async with harness.running():
        await eventually(lambda: harness.media.called("read_media"))
        harness.dispatcher.wake()
        await asyncio.sleep(0.02)

        assert harness.store.state(jobs[1]) is JobState.QUEUED
        harness.media.gates["read_media"].set()
        await eventually(lambda: harness.store.state(jobs[1]).is_final)


async def test_a_free_row_is_filled_while_the_neighbour_makes_its_first_step(harness):
    first, second, gate = make_job(owner="ann"), make_job(owner="bob"), asyncio.Event()
    harness.script(first, gate, make_done())
    harness.pool.devices = {"cpu": 2}
    harness.store.add(first)

    async with harness.running():
        await eventually(lambda: harness.pool.running)
        harness.store.add(second)
        harness.dispatcher.wake()
        await eventually(lambda: harness.store.state(second).is_final)


async def test_every_device_gets_a_job_before_any_gets_two(harness):
    jobs = [make_job(owner=f"p{number}") for number in range(2)]
    for job in jobs:
        harness.script(job, asyncio.Event())
    harness.pool.devices = {"cuda:0": 4, "cuda:1": 4}
    harness.store.add(*jobs)

    async with harness.running():
        await eventually(lambda: len(harness.pool.running) == 2)

        assert [call.offer.device for call in harness.store.called("claim_job")[:2]] == ["cuda:0", "cuda:1"]


async def test_two_devices_work_at_the_same_time(harness):
    jobs = [make_job(owner=f"p{number}") for number in range(3)]
    for job in jobs:
        harness.script(job, asyncio.Event())
    harness.pool.devices = {"cuda:0": 1, "cuda:1": 1}
    harness.store.add(*jobs)

    async with harness.running():
        await eventually(lambda: sorted(harness.pool.running.values()) == ["cuda:0", "cuda:1"])


async def test_a_later_offer_is_used(harness):
    job = make_job()
    harness.pool.devices = {}
    harness.store.add(job)

    async with harness.running():
        await asyncio.sleep(0.01)
        harness.pool.devices = {"cpu": 1}
        harness.pool.notify_change()
        await eventually(lambda: harness.store.state(job).is_final)


async def test_a_later_job_is_claimed_after_a_wakeup(harness):
    job = make_job()
    async with harness.running():
        await asyncio.sleep(0.01)
        harness.store.add(job)
        harness.dispatcher.wake([job.id])
        await eventually(lambda: harness.store.state(job).is_final)


@pytest.mark.parametrize("error", [StorageBusy(), EngineError("odd"), ValueError("a bug")])
async def test_a_claim_that_fails_is_tried_again(harness, error):
    harness.store.failures["claim_job"] = [error, error]

    (job,) = await harness.work_off(make_job())

    assert job.state is JobState.RENDERED


async def test_a_pool_that_stumbles_over_its_changes_ends_nothing(harness, monkeypatch):
    async def stumble():
        raise RuntimeError

    monkeypatch.setattr(harness.pool, "wait_for_change", stumble)

    (job,) = await harness.work_off(make_job())

    assert job.state is JobState.RENDERED


async def test_beside_anothers_queue_only_own_jobs_run(harness):
    mine, other = make_job(), make_job(owner="bob")
    harness.store.add(mine, other)

    async with harness.running(only_submitted=True) as dispatcher:
        await asyncio.sleep(0.01)
        dispatcher.wake([mine.id])
        await eventually(lambda: harness.store.state(mine).is_final)
        await asyncio.sleep(0.01)

    assert harness.store.state(other) is JobState.QUEUED
    assert all(call.only == {mine.id} for call in harness.store.called("claim_job"))


# ---------------------------------------------------------------- when it fails


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (EngineError("CUDA said no"), "engine_failed", "weren't charged"),
        (EngineTimeout(60.0), "timeout", "time limit"),
        (ModelUnavailable("fox-diffusion", "no files"), "model_unavailable", "could not be loaded"),
        (InvalidOption("steps", "range", value=9, allowed="1 to 4"), "invalid_option", "1 to 4"),
        (RuntimeError("secret words"), "internal", "Something went wrong"),
    ],
)
async def test_an_error_that_a_retry_cannot_fix_fails_immediately(harness, error, code, words):
    job = make_job()
    harness.script(job, STEP, error)

    (ended,) = await harness.work_off(job)

    assert (ended.state, ended.attempt, ended.error.code) == (JobState.FAILED, 1, code)
    assert words in ended.error.message
    assert "secret" not in ended.error.message
    assert harness.store.refunds == [job.id]
    assert [one.state for one in harness.finished] == [JobState.FAILED]


async def test_a_failure_has_an_incident_that_its_sentence_names(harness):
    job = make_job()
    harness.script(job, EngineError("odd"))

    (ended,) = await harness.work_off(job)

    assert ended.error.incident in ended.error.message
    assert len(ended.error.incident) == 8


async def test_a_refusal_is_no_incident(harness):
    job = make_job()
    harness.script(job, InvalidOption("steps", "range", value=9, allowed="1 to 4"))

    (ended,) = await harness.work_off(job)

    assert ended.error.incident == ""


async def test_a_model_that_left_the_config_fails_its_jobs(harness):
    harness.models = ModelRegistry({})

    (job,) = await harness.work_off(make_job())

    assert (job.state, job.error.code) == (JobState.FAILED, "model_unavailable")


async def test_a_picture_that_is_gone_fails_the_job_with_its_own_sentence(harness):
    (job,) = await harness.work_off(make_job(images=(ImageRef("0" * 64),)))

    assert (job.state, job.error.code) == (JobState.FAILED, "not_found")


async def test_a_pool_that_ends_without_a_result_fails_the_job(harness):
    job = make_job()
    harness.script(job, STEP)

    (ended,) = await harness.work_off(job)

    assert ended.error.code == "engine_failed"


async def test_the_time_a_failed_job_used_is_stored_without_loading(harness):
    job = make_job()
    harness.script(job, Progress(step=0, steps=2, phase="loading"), EngineError("odd"))

    await harness.work_off(job)

    assert harness.store.called("end_job")[0].used_s == 0.0


async def test_time_used_is_what_the_pool_says_whatever_the_clock_says(harness):
    job = make_job()
    harness.script(job, Progress(step=1, steps=2, used_s=0.25), EngineError("odd"))
    harness.store.failures["end_job"] = [StorageBusy() for _ in range(3)]

    await harness.work_off(job)

    assert {call.used_s for call in harness.store.called("end_job")} == {0.25}


async def test_the_time_a_crashed_job_used_counts(harness):
    job = make_job()
    used = Progress(step=1, steps=2, used_s=0.25)
    harness.script(job, used, WorkerLost(was_alone=False, detail="killed"), then=[make_done()])

    await harness.work_off(job)

    assert [call.used_s for call in harness.store.called("requeue_job")] == [0.25]


async def test_after_a_crash_while_its_model_loads_a_job_waits_again(harness):
    job, progress_bus = make_job(), harness.events
    loading, crash, go_on = Progress(step=0, steps=2, phase="loading", load_s=20.0), asyncio.Event(), asyncio.Event()
    harness.script(job, loading, crash, WorkerLost(was_alone=True), then=[go_on, make_done()])
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: progress_bus.latest_progress(job.id) == loading)
        crash.set()
        await eventually(lambda: len(harness.pool.called("run_task")) == 2)
        afterwards = progress_bus.latest_progress(job.id)
        go_on.set()
        await eventually(lambda: harness.store.state(job).is_final)

    assert (afterwards, harness.store.jobs[job.id].attempt) == (None, 2)


async def test_one_failure_is_one_incident_however_often_recording_is_tried(harness):
    job = make_job()
    harness.script(job, EngineError("odd"))
    harness.store.failures["end_job"] = [StorageBusy(), StorageFull()]

    await harness.work_off(job)

    assert len({call.error.incident for call in harness.store.called("end_job")}) == 1


# ---------------------------------------------------------------- trying again


async def test_memory_that_runs_out_once_is_tried_again_alone(harness):
    job = make_job()
    harness.script(job, OutOfMemory("8 GiB"), then=[make_done()])

    (ended,) = await harness.work_off(job)

    requeued = harness.store.called("requeue_job")[0]
    assert (requeued.exclusive, requeued.crashed, requeued.interrupted) == (True, False, False)
    assert ended.state is JobState.RENDERED


async def test_memory_that_runs_out_twice_fails_the_job(harness):
    job = make_job()
    harness.script(job, OutOfMemory("8 GiB"))

    (ended,) = await harness.work_off(job)

    assert (ended.state, ended.error.code, ended.attempt) == (JobState.FAILED, "out_of_memory", 2)


async def test_a_job_that_is_lost_to_plugins_runs_again_with_others_and_without_a_fault_or_a_charge(harness):
    job = make_job()
    lost = [STEP, WorkerLost(was_alone=False, plugin="mark")]
    harness.pool.scripts[job.id] = [*[lost] * 4, [make_done()]]

    (ended,) = await harness.work_off(job)

    assert ended.result.notes == ("The plugin mark had no effect: it ended the worker and was switched off.",)
    assert (ended.state, ended.crashes, ended.failures, ended.interruptions) == (JobState.RENDERED, 0, 0, 0)
    assert {(call.faultless, call.exclusive, call.used_s) for call in harness.store.called("requeue_job")} == {
        (True, False, 0.0)
    }


async def test_the_third_crash_alone_makes_a_job_dead(harness):
    job = make_job()
    harness.script(job, STEP, WorkerLost(was_alone=True))

    (ended,) = await harness.work_off(job)

    assert (ended.state, ended.error.code, ended.attempt, ended.crashes) == (JobState.DEAD, "worker_lost", 3, 2)
    assert harness.store.refunds == [job.id]


async def test_a_crash_beside_other_jobs_counts_against_none_of_them(harness):
    job = make_job(crashes=2)
    harness.pool.scripts[job.id] = [*[[WorkerLost(was_alone=False)]] * 4, [make_done()]]

    (ended,) = await harness.work_off(job)

    assert (ended.state, ended.attempt, ended.crashes) == (JobState.RENDERED, 5, 2)


async def test_after_a_crash_its_jobs_run_one_by_one(harness):
    jobs = [make_job(owner=f"p{number}") for number in range(3)]
    crash = asyncio.Event()
    for job in jobs:
        harness.script(job, crash, WorkerLost(was_alone=False), then=[STEP, make_done()])
    others = [make_job(owner=f"q{number}") for number in range(6)]
    harness.pool.devices = {"cpu": 3}
    harness.store.add(*jobs)

    async with harness.running():
        await eventually(lambda: len(harness.pool.running) == 3)
        harness.store.add(*others)
        crash.set()
        await eventually(lambda: all(harness.store.state(job).is_final for job in jobs + others))

    runs = [(call.task.id, call.beside) for call in harness.pool.called("run_task")]
    assert sorted(runs[3:6]) == sorted((job.id, 0) for job in jobs)
    assert max(beside for _, beside in runs[6:]) > 0


async def test_a_job_that_waits_for_an_idle_device_is_not_passed_by_for_ever(harness):
    crashed, gate = make_job(owner="ann"), asyncio.Event()
    harness.script(crashed, gate, OutOfMemory("8 GiB"), then=[make_done()])
    stream = [make_job(owner=f"p{number}") for number in range(40)]
    slow = make_job(owner="slow")
    hold = asyncio.Event()
    harness.script(slow, hold, make_done())
    harness.pool.devices = {"cpu": 2}
    harness.store.add(crashed, slow)

    async with harness.running():
        await eventually(lambda: len(harness.pool.running) == 2)
        harness.store.add(*stream)
        gate.set()
        await eventually(lambda: harness.store.called("requeue_job"))
        await asyncio.sleep(0.02)
        started = len(harness.pool.called("run_task"))
        hold.set()
        await eventually(lambda: harness.store.state(crashed).is_final)

    assert started == 2, "nothing joins the busy device while somebody waits for it to be idle"
    assert harness.pool.called("run_task")[2].task.id == crashed.id


async def test_a_cancelled_exclusive_job_does_not_delay_others(harness):
    crashed, gate, hold = make_job(owner="ann"), asyncio.Event(), asyncio.Event()
    harness.script(crashed, gate, OutOfMemory("8 GiB"))
    slow = make_job(owner="slow")
    harness.script(slow, hold, make_done())
    harness.pool.devices = {"cpu": 2}
    harness.store.add(crashed, slow)

    async with harness.running():
        await eventually(lambda: len(harness.pool.running) == 2)
        gate.set()
        await eventually(lambda: harness.store.state(crashed) is JobState.QUEUED)
        await harness.store.request_cancel(crashed.id, "ann")
        hold.set()
        await eventually(lambda: harness.store.state(slow).is_final)
        both = [make_job(owner="x"), make_job(owner="y")]
        for job in both:
            harness.script(job, asyncio.Event())
        harness.store.add(*both)
        harness.dispatcher.wake()
        await eventually(lambda: len(harness.pool.running) == 2)


@pytest.mark.parametrize("was_alone", [True, False])
async def test_an_interruption_costs_no_attempt_and_keeps_a_job_exclusive(harness, was_alone):
    job = make_job(failures=int(was_alone))
    harness.script(job, Interrupted(), then=[make_done()])

    await harness.work_off(job)

    requeued = harness.store.called("requeue_job")[0]
    assert (requeued.interrupted, requeued.crashed, requeued.exclusive) == (True, False, was_alone)


async def test_an_eleventh_interruption_fails_the_job(harness):
    job = make_job()
    harness.script(job, Interrupted())

    (ended,) = await harness.work_off(job)

    assert (ended.state, ended.error.code) == (JobState.FAILED, "interrupted_too_often")
    assert ended.interruptions == 10


# ---------------------------------------------------------------- cancelling


async def test_a_running_job_is_cancelled_at_its_next_step(harness):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.add(job)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.events.latest_progress(job.id))
        await harness.store.request_cancel(job.id, "ann")
        dispatcher.interrupt_job(job.id)
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.CANCELLED
    assert harness.store.refunds == [job.id]


async def test_a_cancel_while_the_claim_is_answered_is_not_lost(harness):
    job = make_job()
    harness.script(job, asyncio.Event())
    harness.store.gates["claim_job"] = asyncio.Event()
    harness.store.add(job)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.store.state(job) is JobState.RUNNING)
        await harness.store.request_cancel(job.id, "ann")
        dispatcher.interrupt_job(job.id)
        harness.store.gates["claim_job"].set()
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.CANCELLED
    assert not harness.pool.called("run_task")


async def test_a_cancel_while_the_task_is_prepared_keeps_it_from_the_pool(harness):
    await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    harness.media.gates["read_media"] = asyncio.Event()
    job = make_job(images=(ImageRef(media_id(b"photo")),))
    harness.store.add(job)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.media.called("read_media"))
        await harness.store.request_cancel(job.id, "ann")
        dispatcher.interrupt_job(job.id)
        harness.media.gates["read_media"].set()
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.CANCELLED
    assert not harness.pool.called("run_task")


async def test_a_cancel_that_came_with_the_claim_is_heard(harness):
    job = make_job(cancel_requested=True)

    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.CANCELLED


async def test_a_cancel_that_loses_the_race_against_the_result_still_counts(harness):
    job = make_job()
    harness.media.gates["write_file"] = asyncio.Event()
    harness.store.add(job)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.media.called("write_file"))
        await harness.store.request_cancel(job.id, "ann")
        dispatcher.interrupt_job(job.id)
        harness.media.gates["write_file"].set()
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.CANCELLED
    assert harness.store.captures == []


async def test_a_cancel_that_only_the_store_knows_of_is_heard_with_the_next_lease(harness):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.add(job)

    async with harness.running(lease_s=0.04):
        await eventually(lambda: harness.events.latest_progress(job.id))
        await harness.store.request_cancel(job.id, "ann")
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.CANCELLED


async def test_a_cancellation_without_a_request_is_no_cancel(harness):
    job = make_job()
    harness.script(job, JobCancelled(), then=[make_done()])

    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.RENDERED


async def test_interrupting_what_does_not_run_does_nothing(harness):
    harness.build().interrupt_job("nobody")

    (job,) = await harness.work_off(make_job())

    assert job.state is JobState.RENDERED


# ---------------------------------------------------------------- leases


async def test_leases_are_renewed_while_a_job_runs(harness):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.add(job)

    async with harness.running(lease_s=0.04):
        await eventually(lambda: {job.id: 1} in [call.leases for call in harness.store.called("renew_leases")])


async def test_the_result_of_a_lost_lease_is_discarded(harness):
    job = make_job()
    gate = asyncio.Event()
    harness.script(job, gate, make_done())
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.pool.running)
        harness.store.lost.add(job.id)
        gate.set()
        await eventually(lambda: harness.store.called("save_result"))
        await eventually(lambda: not harness.pool.running)

    assert harness.store.captures == []
    assert harness.finished == []


async def test_a_lost_lease_stops_the_work(harness):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.add(job)

    async with harness.running(lease_s=0.04):
        await eventually(lambda: harness.pool.running)
        harness.store.lost.add(job.id)
        await eventually(lambda: not harness.pool.running)

    assert harness.store.captures == harness.store.refunds == []


async def test_a_lease_that_an_earlier_attempt_lost_does_not_stop_the_present_one(harness):
    job, first, second = make_job(), asyncio.Event(), asyncio.Event()
    harness.script(job, first, OutOfMemory("8 GiB"), then=[STEP, second, make_done()])
    answer = harness.store.gates["renew_leases"] = asyncio.Event()
    harness.store.add(job)

    async with harness.running(lease_s=0.04):
        await eventually(lambda: {job.id: 1} in [call.leases for call in harness.store.called("renew_leases")])
        harness.store.renewal = LeaseRenewal(cancel_requested=frozenset(), lost=frozenset({job.id}))
        first.set()
        await eventually(lambda: harness.events.latest_progress(job.id))
        answer.set()
        await asyncio.sleep(0.005)
        harness.store.renewal = None
        second.set()
        await eventually(lambda: harness.store.state(job).is_final)

    assert harness.store.state(job) is JobState.RENDERED


@pytest.mark.parametrize("error", [StorageBusy(), ValueError("a bug")])
async def test_a_renewal_that_fails_is_tried_again(harness, error):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.failures["renew_leases"] = [error]
    harness.store.add(job)

    async with harness.running(lease_s=0.04):
        await eventually(lambda: len(harness.store.called("renew_leases")) >= 2)

        assert harness.store.state(job) is JobState.RUNNING


# ---------------------------------------------------------------- a database that does not answer


@pytest.mark.parametrize("error", [StorageBusy, StorageFull])
@pytest.mark.parametrize("method", ["save_result", "write_file"])
async def test_a_rendered_result_waits_for_the_database_and_is_not_made_again(harness, error, method):
    fake = harness.media if method == "write_file" else harness.store
    fake.failures[method] = [error() for _ in range(5)]

    (job,) = await harness.work_off(make_job())

    assert job.state is JobState.RENDERED
    assert len(harness.pool.called("run_task")) == 1


async def test_a_failure_also_waits_for_the_database(harness):
    job = make_job()
    harness.script(job, EngineError("odd"))
    harness.store.failures["end_job"] = [StorageFull()]

    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.FAILED


async def test_a_busy_database_while_reading_the_pictures_does_not_fail_the_job(harness):
    await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    harness.media.failures["read_media"] = [StorageBusy(), StorageBusy()]

    (job,) = await harness.work_off(make_job(images=(ImageRef(media_id(b"photo")),)))

    assert job.state is JobState.RENDERED


async def test_a_busy_database_while_keeping_measurements_does_not_fail_the_job(harness):
    job = make_job()
    harness.script(job, MEASURED, DESCRIBED, make_done())
    harness.learned.failures["record_measurement"] = [StorageBusy()]
    harness.learned.failures["record_capabilities"] = [StorageFull()]

    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.RENDERED


async def test_a_result_that_the_store_refuses_fails_its_job_and_no_other(harness):
    harness.store.failures["save_result"] = [ValueError("a bug")]

    first, second = await harness.work_off(make_job(), make_job())

    assert (first.state, second.state) == (JobState.FAILED, JobState.RENDERED)


async def test_an_end_that_cannot_be_recorded_at_all_is_left_to_the_lease(harness):
    first, second = make_job(), make_job()
    harness.script(first, EngineError("odd"))
    harness.store.failures["end_job"] = [ValueError("a bug")]
    harness.store.add(first, second)

    async with harness.running():
        await eventually(lambda: harness.store.state(second).is_final)

    assert harness.store.state(first) is JobState.RUNNING
    assert harness.store.state(second) is JobState.RENDERED


# ---------------------------------------------------------------- closing


async def test_closing_lets_running_jobs_finish(harness):
    job, gate = make_job(), asyncio.Event()
    harness.script(job, gate, make_done())
    harness.store.add(job)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.pool.running)
        closing = asyncio.create_task(dispatcher.close(2.0))
        await asyncio.sleep(0.01)
        gate.set()
        await closing

    assert harness.store.state(job) is JobState.RENDERED


async def test_closing_sends_back_what_does_not_finish_in_time(harness):
    job = make_job()
    harness.script(job, STEP, asyncio.Event())
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.pool.running)

    ended = harness.store.jobs[job.id]
    assert (ended.state, ended.interruptions, ended.crashes) == (JobState.QUEUED, 1, 0)


async def test_nothing_is_claimed_while_closing(harness):
    job, waiting = make_job(owner="ann"), make_job(owner="bob")
    gate = asyncio.Event()
    harness.script(job, gate, make_done())
    harness.store.add(job, waiting)

    async with harness.running() as dispatcher:
        await eventually(lambda: harness.pool.running)
        closing = asyncio.create_task(dispatcher.close(2.0))
        await asyncio.sleep(0.01)
        gate.set()
        await closing

    assert harness.store.state(waiting) is JobState.QUEUED


async def test_a_job_claimed_while_closing_goes_back_to_the_queue(harness):
    job = make_job()
    harness.store.gates["claim_job"] = asyncio.Event()
    harness.store.add(job)
    harness.build()
    running = asyncio.create_task(harness.dispatcher.run_forever())
    await eventually(lambda: harness.store.state(job) is JobState.RUNNING)

    await harness.dispatcher.close(0.0)
    harness.store.gates["claim_job"].set()
    await asyncio.wait_for(running, 20)

    assert harness.store.state(job) is JobState.QUEUED


async def test_closing_waits_for_a_result_that_waits_for_the_database(harness):
    job = make_job()
    harness.store.failures["save_result"] = [StorageBusy() for _ in range(4)]
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.store.called("save_result"))

    assert harness.store.state(job) is JobState.RENDERED


async def test_closing_does_not_wait_for_ever_for_a_disk_without_room(harness):
    job = make_job()
    harness.store.failures["save_result"] = [StorageFull() for _ in range(10_000)]
    harness.store.failures["requeue_job"] = [StorageFull() for _ in range(10_000)]
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.store.called("save_result"))

    assert harness.store.state(job) is JobState.RUNNING, "the next start sends it back to the queue"


async def test_a_result_that_cannot_be_kept_before_the_end_is_made_again(harness):
    job = make_job()
    harness.store.failures["save_result"] = [StorageFull() for _ in range(10_000)]
    harness.store.add(job)

    async with harness.running():
        await eventually(lambda: harness.store.called("save_result"))

    assert harness.store.state(job) is JobState.QUEUED
    assert harness.store.refunds == []


async def test_closing_before_the_start_claims_nothing(harness):
    harness.store.add(make_job())
    dispatcher = harness.build()
    await dispatcher.close(0.0)

    await asyncio.wait_for(dispatcher.run_forever(), 20)

    assert not harness.store.called("claim_job")


async def test_a_chat_job_takes_the_same_path(harness):
    (job,) = await harness.work_off(make_chat_job())

    assert job.state is JobState.RENDERED


async def test_no_prompt_is_logged_above_debug(harness, logged):
    jobs = [make_job(options={"prompt": "a secret fox", "seed": 1}) for _ in range(4)]
    for job, error in zip(
        jobs, (OutOfMemory(), WorkerLost(was_alone=True), EngineError("odd"), Interrupted()), strict=True
    ):
        harness.script(job, STEP, error)

    await harness.work_off(*jobs)

    assert {"job_failed", "out_of_memory", "worker_lost"} <= {event["action"] for event in logged}
    assert "secret" not in repr([event for event in logged if event["log_level"] != "debug"])


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_comes_with_a_wake_is_heard(harness, turns):
    dispatcher = harness.build()
    running = asyncio.create_task(dispatcher.run_forever())
    await asyncio.sleep(0.01)

    dispatcher.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()

    done, _ = await asyncio.wait([running], timeout=20)
    assert done
