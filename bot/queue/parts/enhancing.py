"""Makes the prompts of a job richer before anything is drawn: a text for each different prompt, by a model."""

from dataclasses import dataclass, replace

import structlog

from bot.commands import Ask
from bot.commands.prompt_enhancing import UNENHANCED, enhancing_model
from bot.error_texts import ENHANCED, NOT_ENHANCED
from bot.errors import Blocked, EaselError, Interrupted, JobCancelled
from bot.models import VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.ports import ENHANCE, Task, TaskOutput
from bot.prompts.grammar import prompt_at, task_prompts
from bot.prompts.richer_prompts import enhancing_options, read_enhanced, wanted_words
from bot.queue.task_runner import RunPart

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class EnhancePreparation:
    models: ModelRegistry

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The task with richer prompts; where a model fails to write one, with that as it was.

        Raises: Interrupted, JobCancelled, Blocked.
        """
        if not task.options.get("enhance"):
            return task
        asked = task_prompts(task.options)
        written = {prompt: await self._enhance(task, prompt, number, run_part) for number, prompt in enumerate(asked)}
        notes = [ENHANCED.format(words=text) for text in dict.fromkeys(filter(None, written.values()))]
        notes += [] if all(written.values()) else [NOT_ENHANCED]
        return replace(task, options=_with_prompts(task, written), notes=(*task.notes, *notes))

    async def _enhance(self, task: Task, prompt: str, number: int, run_part: RunPart) -> str:
        """Empty: no model has written anything."""
        model = enhancing_model(self.models)
        if model is None or not wanted_words(prompt):  # it was removed since, or there are only tags
            return ""
        try:
            output = await run_part(_enhancing_task(task, model, prompt, number))
        except (Interrupted, JobCancelled, Blocked):
            raise
        except EaselError as error:
            log.warning("a prompt was not made richer", action="enhance_failed", error=str(error))
            return ""
        names = [
            one.name for one in task.addons if one.kind == "inversion" and one.name.casefold() in prompt.casefold()
        ]
        return read_enhanced(output.text or "", prompt, names)


class EnhanceFinish:
    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """With what the images were drawn from."""
        if UNENHANCED not in task.options:
            return output
        count = int(task.options.get("count", 1))
        return replace(output, prompts=tuple(prompt_at(task.options, index) for index in range(count)))


def _enhancing_task(task: Task, model: ModelSpec, prompt: str, number: int) -> Task:
    return replace(
        task,
        id=f"{task.id}.enhance{number}",
        command=ENHANCE,
        task=VISUAL_QUESTION_ANSWERING,
        model=model,
        options=enhancing_options(prompt, model),
        answers=Ask.answers.value,
        images=(),
        addons=(),
        adapter=None,
        wants_previews=False,
        rules=None,
    )


def _with_prompts(task: Task, written: dict[str, str]) -> dict[str, object]:
    options = dict(task.options)
    if not any(written.values()):
        return options
    options[UNENHANCED] = {name: options[name] for name in ("prompt", "prompts") if name in options}
    options["prompt"] = written.get(str(options["prompt"])) or options["prompt"]
    if "prompts" in options:
        options["prompts"] = [written.get(prompt) or prompt for prompt in options["prompts"]]
    return options
