from bot.jobs import JobState
from bot.models import ModelRegistry
from bot.queue.recovery import recover_jobs
from tests.fakes import FakeJobStore, make_job, make_model

HERE = ModelRegistry({"fox-diffusion": make_model()})


async def test_a_job_whose_model_is_gone_fails_with_the_reason_and_its_quota_back():
    gone, kept = make_job(model="wolf-diffusion"), make_job()
    store = FakeJobStore(gone, kept)
    await recover_jobs(store, HERE, max_interruptions=3)

    failed = store.jobs[gone.id]
    assert (failed.state, failed.error.code) == (JobState.FAILED, "model_unavailable")
    assert "wolf-diffusion" in failed.error.message
    assert store.refunds == [gone.id]
    assert store.state(kept) is JobState.QUEUED


async def test_a_job_that_was_running_at_the_crash_is_also_recovered():
    gone = make_job(model="wolf-diffusion", state=JobState.RUNNING, attempt=1)
    store = FakeJobStore(gone)
    await recover_jobs(store, HERE, max_interruptions=3)

    assert store.state(gone) is JobState.FAILED


async def test_any_number_of_jobs_may_be_stranded(monkeypatch):
    monkeypatch.setattr("bot.queue.recovery.BATCH_SIZE", 2)
    store = FakeJobStore(*(make_job(model="wolf-diffusion") for _ in range(5)))
    await recover_jobs(store, HERE, max_interruptions=3)

    assert {job.state for job in store.jobs.values()} == {JobState.FAILED}
