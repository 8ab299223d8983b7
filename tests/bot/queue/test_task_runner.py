"""What a job runs beside its main task is judged like it."""

from types import SimpleNamespace
from typing import Any

import pytest

from bot.errors import Blocked, NoAnswer
from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, ModelRegistry
from bot.ports import ENHANCE, RenderedImage, SafetyRules, Task, TaskOutput
from bot.queue.progress import ProgressBus
from bot.queue.task_runner import TaskRunner
from bot.safety import SafetySettings
from bot.usecases import Moderation
from tests.fakes import make_job, make_model

MODEL = make_model()
RULES = SafetyRules(policy="block", threshold=0.5)


class OneOutput:
    def __init__(self, output):
        self.output = output
        self.tasks = []

    async def run_task(self, task):
        self.tasks.append(task)
        yield self.output


class Attempt(SimpleNamespace):
    def raise_if_cancelled(self): ...


class AskForCaption:
    async def prepare(self, task, run_part):
        await run_part(Task(id="job.caption0", command="caption", task=IMAGE_TO_TEXT, model=MODEL, options={}))
        return task


class AskForRicherPrompt:
    async def prepare(self, task, run_part):
        await run_part(Task(id="job.enhance0", command=ENHANCE, task="", model=MODEL, options={}))
        return task


class MustNotRun:
    async def finish(self, *_):
        raise AssertionError("a picture that is not allowed is used further")


async def run(output, *, refusal=Blocked, **parts):
    pool: Any = OneOutput(output)
    nothing: Any = SimpleNamespace()
    moderation = Moderation(spaces=nothing, people=nothing, classifier=nothing, settings=SafetySettings())
    runner = TaskRunner(
        media=nothing, pool=pool, models=ModelRegistry({}), postprocessor=nothing, moderation=moderation,
        progress_bus=ProgressBus(), prompt_resolver=nothing, fairness_keys=nothing, on_event=nothing, **parts,
    )  # fmt: skip
    job = make_job(command="zoom", options={"prompt": ""})
    attempt: Any = Attempt(job=job, past_s=0.0, used_s=0.0, is_starting=True, is_cancelled=False, task_id="")
    task = Task(id=job.id, command="zoom", task=job.task, model=MODEL, options=job.options, rules=RULES)
    with pytest.raises(refusal) as refused:
        await runner.run_task(attempt, task)
    return getattr(refused.value, "reason", ""), pool.tasks


async def test_a_caption_is_checked_before_any_part_uses_it():
    reason, tasks = await run(TaskOutput(text="a naked child"), preparations=[AskForCaption()])

    assert (reason, [task.id for task in tasks]) == ("picture", ["job.caption0"])


async def test_a_richer_prompt_is_checked_before_anything_is_drawn():
    reason, tasks = await run(TaskOutput(text="a naked child"), preparations=[AskForRicherPrompt()])

    assert (reason, [task.id for task in tasks]) == ("enhanced", ["job.enhance0"])


async def test_nothing_more_is_made_of_an_image_that_is_not_allowed():
    image = RenderedImage(media=Media(b"", "image/png"), width=8, height=8, parameters="", nsfw=0.9)
    reason, tasks = await run(TaskOutput(images=(image,)), finishes=[MustNotRun()])

    assert (reason, len(tasks)) == ("nsfw", 1)


@pytest.mark.parametrize("text", ["", " \n"])
async def test_an_answer_without_words_costs_nothing_and_says_so(text):
    await run(TaskOutput(text=text), refusal=NoAnswer)
