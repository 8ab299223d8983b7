"""A model's adapter that cannot be used stops nobody who did not ask for it."""

from types import SimpleNamespace
from typing import Any

import pytest

from bot.error_texts import format_note
from bot.errors import InvalidOption
from bot.models import ModelRegistry
from bot.ports import Task, TaskAdapter, TaskOutput
from bot.queue.progress import ProgressBus
from bot.queue.task_runner import TaskRunner
from bot.safety import SafetySettings
from bot.usecases import Moderation
from tests.fakes import make_job, make_model

MODEL = make_model()


class Attempt(SimpleNamespace):
    def raise_if_cancelled(self): ...


class Choosy:
    """A pool whose worker refuses the adapter, or another option."""

    def __init__(self, option):
        self.option, self.tasks = option, []

    async def run_task(self, task):
        self.tasks.append(task)
        if task.adapter is not None:
            raise InvalidOption(self.option, "adapter_changed", value=task.adapter.name)
        yield TaskOutput(text="a cat")


async def run(*, is_asked, option="adapter"):
    nothing: Any = SimpleNamespace()
    pool: Any = Choosy(option)
    moderation = Moderation(spaces=nothing, people=nothing, classifier=nothing, settings=SafetySettings())
    adapters: Any = SimpleNamespace(is_asked=lambda _job: is_asked)
    runner = TaskRunner(
        media=nothing, pool=pool, models=ModelRegistry({}), postprocessor=nothing, moderation=moderation,
        progress_bus=ProgressBus(), prompt_resolver=nothing, fairness_keys=nothing, on_event=nothing, adapters=adapters,
    )  # fmt: skip
    job = make_job(command="caption", options={})
    attempt: Any = Attempt(job=job, past_s=0.0, used_s=0.0, is_starting=True, is_cancelled=False, task_id="")
    task = Task(
        id=job.id, command="caption", task=job.task, model=MODEL, options={}, adapter=TaskAdapter("ward", "5" * 64),
        notes=("first",),
    )  # fmt: skip
    return await runner.run_task(attempt, task), pool.tasks


async def test_a_person_who_did_not_name_it_gets_the_models_answer_and_a_note():
    output, tasks = await run(is_asked=False)

    assert (output.text, [task.adapter is None for task in tasks]) == ("a cat", [False, True])
    assert output.notes[0] == "first"
    assert format_note(output.notes[1]).endswith("cannot be used; its owner can train it again: ward")


@pytest.mark.parametrize("given", [{"is_asked": True}, {"is_asked": False, "option": "question"}])
async def test_a_person_who_named_it_and_other_faults_get_the_sentence(given):
    with pytest.raises(InvalidOption):
        await run(**given)
