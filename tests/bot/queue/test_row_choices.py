"""A running job whose images wait for a choice: its judge is a part that nobody sees, and a cancel ends it."""

from types import SimpleNamespace
from typing import Any

import pytest

from bot.errors import JobCancelled
from bot.jobs import Media
from bot.models import ModelRegistry
from bot.ports import RANK, Candidate, Candidates, MatchScore, Progress, Task, TaskOutput
from bot.queue.attempt import Attempt
from bot.queue.progress import ProgressBus
from bot.queue.task_runner import TaskRunner
from bot.safety import SafetySettings
from bot.usecases import Moderation
from tests.fakes import make_job, make_model

MODEL = make_model()
WAITING = Candidates(step=3, kept=2, images=tuple(Candidate(n, Media(b"", "image/png")) for n in range(4)))


class Pool:
    """Its main task waits once; `on_part`: called when the judge is asked."""

    def __init__(self, on_part=lambda: None):
        self.tasks, self.kept, self.on_part = [], [], on_part

    async def run_task(self, task):
        self.tasks.append(task)
        if task.command == RANK:
            self.on_part()
            yield Progress(step=1, steps=1, used_s=1.0)
            yield TaskOutput(matches=(MatchScore(1.0),), seconds=1.0)
            return
        yield Progress(step=12, steps=48)
        yield WAITING
        yield TaskOutput(seconds=3.0)

    def keep_rows(self, task_id, step, kept):
        self.kept.append((task_id, step, list(kept)))


class LastTwo:
    async def choose_rows(self, task, candidates, run_part):
        await run_part(Task(id=f"{task.id}.rank0", command=RANK, task="", model=MODEL, options={}))
        return [2, 3]


async def run(pool, chooser, attempt=None):
    nothing: Any = SimpleNamespace()
    bus = ProgressBus()
    job = make_job(options={"prompt": "a fox", "best": 8, "count": 8})
    runner = TaskRunner(
        media=nothing, pool=pool, models=ModelRegistry({}), postprocessor=nothing,
        moderation=Moderation(spaces=nothing, people=nothing, classifier=nothing, settings=SafetySettings()),
        progress_bus=bus, prompt_resolver=nothing, fairness_keys=nothing, on_event=nothing, chooser=chooser,
    )  # fmt: skip
    attempt = attempt or Attempt(job, "cpu")
    task = Task(
        id=attempt.job.id, command="imagine", task=job.task, model=MODEL, options=job.options, is_exclusive=True
    )
    output = await runner.run_task(attempt, task)
    return attempt, output, bus.latest_progress(attempt.job.id)


async def test_the_judge_runs_beside_the_job_and_its_seconds_are_the_jobs():
    pool: Any = Pool()

    attempt, output, shown = await run(pool, LastTwo())

    main, part = pool.tasks
    assert pool.kept == [(main.id, 3, [2, 3])]
    assert (part.beside, part.is_part, part.wants_previews) == (main.id, True, False)
    assert output.seconds == attempt.past_s == 4.0
    assert attempt.task_id == main.id
    assert (shown.step, shown.steps) == (12, 48), "the judge's progress is none of the job's"


async def test_without_a_chooser_the_first_go_on():
    pool: Any = Pool()

    await run(pool, None)

    assert [kept for _, _, kept in pool.kept] == [[0, 1]]


async def test_a_job_that_is_cancelled_while_it_is_judged_goes_no_further():
    attempt = Attempt(make_job(options={"prompt": "a fox"}), "cpu")
    pool: Any = Pool(on_part=lambda: setattr(attempt, "is_cancelled", True))
    pool.cancel_task = lambda _task_id: None

    with pytest.raises(JobCancelled):
        await run(pool, LastTwo(), attempt)

    assert pool.kept == []
