"""Builds the task of a claimed job and runs it with its parts.

A job can take several tasks: the mask of a region or the map of a control is made before its main task, details are
remade after it. Each part is a task of its own on the pool, so the parts of many people share passes like other tasks.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import structlog

from bot.commands import answer_of
from bot.commands.adapter_option import OPTION
from bot.commands.preview import needs_no_model
from bot.errors import EngineError, InvalidOption, ModelRemoved, NoAnswer, WorkerLost
from bot.jobs import Job
from bot.models import IMAGE_TO_TEXT, ModelRegistry, ModelSpec
from bot.ports import (
    ENHANCE,
    NO_METRICS,
    Candidates,
    Measurement,
    MediaStore,
    ModelCapabilities,
    ModerationPolicy,
    Pool,
    Progress,
    Task,
    TaskAdapter,
    TaskImage,
    TaskOutput,
    WorkMetrics,
)
from bot.problem_texts.adapter_problems import NOT_USED
from bot.prompts.resolver import PromptResolver
from bot.queue.attempt import Attempt, FairnessKeys, needs_exclusive_device
from bot.queue.plugin_losses import PluginLosses
from bot.queue.postprocess import Postprocessor
from bot.queue.progress import ProgressBus, progress_of_part
from bot.queue.threads import ThreadReader

log = structlog.get_logger()
RunPart = Callable[[Task], Awaitable[TaskOutput]]
"""Runs a part of a job; its id must begin with the job's."""
Retry = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Preparation(Protocol):
    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The task with what it needs first. Raises: InvalidOption, and what `Pool.run_task` does."""


class Finish(Protocol):
    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """The output of the main task after a further step. Raises: what `Pool.run_task` does."""


class AdapterSource(Protocol):
    async def adapter_for(self, job: Job, model: ModelSpec) -> tuple[TaskAdapter | None, str]:
        """The adapter that answers the job, and a note on it. Raises: InvalidOption: it cannot be used any more."""

    def is_asked(self, job: Job) -> bool:
        """Whether the person named the adapter, rather than the model's being used."""


class TextChanges(Protocol):
    """Plugins."""

    async def change_prompts(self, job: Job, task: Task) -> Task:
        """The task with other prompts. Raises: Blocked."""

    async def finish(self, job: Job, task: Task, output: TaskOutput) -> TaskOutput:
        """The output with another answer."""


class RowChooser(Protocol):
    async def choose_rows(self, task: Task, candidates: Candidates, run_part: RunPart) -> Sequence[int]:
        """Indexes of the images that go on. Raises: JobCancelled, Interrupted."""


@dataclass(kw_only=True)
class TaskRunner:
    """`on_event`: records measurements and capabilities. `chooser`: of images that are compared while they are made."""

    media: MediaStore
    pool: Pool
    models: ModelRegistry
    postprocessor: Postprocessor
    moderation: ModerationPolicy
    progress_bus: ProgressBus
    prompt_resolver: PromptResolver
    fairness_keys: FairnessKeys
    on_event: Callable[[Measurement | ModelCapabilities], Awaitable[None]]
    preparations: Sequence[Preparation] = ()
    finishes: Sequence[Finish] = ()
    chooser: RowChooser | None = None
    threads: ThreadReader | None = None
    adapters: AdapterSource | None = None
    plugin_texts: TextChanges | None = None
    metrics: WorkMetrics = NO_METRICS
    plugin_losses: PluginLosses = field(default_factory=PluginLosses)

    async def build_task(self, job: Job, retry: Retry) -> Task:
        """Raises: ModelRemoved, MediaNotFound."""
        model = self.models.get(job.model)
        if model is None:
            raise ModelRemoved(job.model)
        images = [
            TaskImage(
                ref.role,
                await retry(partial(self.media.read_media, ref.id, job.owner)),
                kind=ref.kind,
                weight=ref.weight,
                start=ref.start,
                end=ref.end,
                is_ready=ref.ready,
            )
            for ref in job.images
        ]
        addons = (
            ()
            if needs_no_model(job.command, job.options)
            else await self.prompt_resolver.addons_used(job.options, model)
        )
        rules = await retry(partial(self.moderation.rules_for, job, model))
        adapter, note = await self.adapters.adapter_for(job, model) if self.adapters is not None else (None, "")
        thread = await retry(partial(self.threads.read_thread, job)) if self.threads is not None else ()
        return Task(
            id=job.id,
            command=job.command,
            task=job.task,
            model=model,
            options={**job.options, "thread": thread} if thread else job.options,
            answers=answer_of(job.command).value,
            images=tuple(images),
            addons=addons,
            adapter=adapter,
            notes=(note,) if note else (),
            fairness_key=self.fairness_keys.key_for(job),
            is_exclusive=needs_exclusive_device(job),
            rules=rules,
        )

    async def run_task(self, attempt: Attempt, task: Task) -> TaskOutput:
        """Run the task with its parts. Raises: NoAnswer, what `Pool.run_task` and the parts do."""
        attempt.raise_if_cancelled()
        if needs_no_model(task.command, task.options):
            attempt.is_starting = False  # it does not run on a device
            return await self.postprocessor.run_without_model(task, attempt.job.origin.locale)

        async def run_part(part: Task) -> TaskOutput:
            output = await self._run_part(attempt, replace(part, is_part=True, wants_previews=False))
            if part.task == IMAGE_TO_TEXT and output.text:
                await self.moderation.check_caption(attempt.job, output.text)
            elif part.command == ENHANCE and output.text:
                await self.moderation.check_caption(attempt.job, output.text, reason="enhanced")
            return output

        prepared = task
        if self.plugin_texts is not None:
            prepared = await self.plugin_texts.change_prompts(attempt.job, task)
        for preparation in self.preparations:
            prepared = await preparation.prepare(prepared, run_part)
        try:
            output = await self._run_main(attempt, prepared)
        except InvalidOption as refused:
            prepared = self._without_adapter(attempt.job, prepared, refused)
            output = await self._run_main(attempt, prepared)
        self.moderation.apply_rules(output, task.rules)  # nothing more is made of images that are not allowed
        if output.text is not None and not output.text.strip():
            raise NoAnswer
        for finish in self.finishes:
            output = await finish.finish(prepared, output, run_part)
        if self.plugin_texts is not None:
            output = await self.plugin_texts.finish(attempt.job, prepared, output)
        notes = (*self.plugin_losses.take(attempt.job.id), *prepared.notes, *output.notes)
        return replace(output, seconds=max(output.seconds, attempt.past_s), notes=notes)

    async def _run_part(self, attempt: Attempt, part: Task) -> TaskOutput:
        """Once more if a plugin ended its worker, which disables the plugin."""
        while True:
            try:
                return await self._run_one(attempt, part)
            except WorkerLost as lost:
                if not lost.plugin:
                    raise
                self.plugin_losses.add(attempt.job.id, lost)

    def _without_adapter(self, job: Job, task: Task, refused: InvalidOption) -> Task:
        """The task without the model's adapter, whose files were changed or do not fit: nobody asked for it.

        Raises: InvalidOption: that is not the reason, or the person named it.
        """
        if refused.option != OPTION or task.adapter is None or self.adapters is None or self.adapters.is_asked(job):
            raise refused
        name = task.adapter.name
        log.warning("adapter not used", action="adapter_refused", adapter=name, reason=refused.problem)
        return replace(task, adapter=None, notes=(*task.notes, NOT_USED.format(words=name)))

    async def _run_main(self, attempt: Attempt, task: Task) -> TaskOutput:
        """Somebody may have begun to watch the job during its preparation."""
        may_preview = task.rules is None or task.rules.may_preview
        is_watched = self.progress_bus.is_watched(attempt.job.id)
        task = replace(task, is_part=attempt.past_s > 0, is_result=True, wants_previews=is_watched and may_preview)
        return await self._run_one(attempt, task, is_main=True)

    async def _choose_rows(self, attempt: Attempt, task: Task, candidates: Candidates) -> None:
        """Say which images of the main task go on; those of others are made meanwhile."""

        async def run_part(part: Task) -> TaskOutput:
            part = replace(part, is_part=True, beside=task.id, wants_previews=False)
            return await self._run_one(attempt, part, is_shown=False)

        kept: Sequence[int] = [image.index for image in candidates.images][: candidates.kept]
        if self.chooser is not None:
            kept = await self.chooser.choose_rows(task, candidates, run_part)
        attempt.raise_if_cancelled()
        attempt.task_id = task.id
        self.pool.keep_rows(task.id, candidates.step, kept)

    async def _run_one(
        self, attempt: Attempt, task: Task, *, is_main: bool = False, is_shown: bool = True
    ) -> TaskOutput:
        attempt.raise_if_cancelled()
        attempt.task_id = task.id
        async with aclosing(self.pool.run_task(replace(task, past_s=attempt.past_s))) as events:
            attempt.is_starting = False  # from its first step on, which comes next, the pool counts the task itself
            async for event in events:
                match event:
                    case Progress():
                        attempt.used_s = max(attempt.used_s, attempt.past_s + event.used_s)
                        if is_main:
                            attempt.main_progress = event
                        shown = event if is_main else progress_of_part(event, attempt.main_progress)
                        if is_shown:
                            self.progress_bus.publish_progress(attempt.job.id, shown)
                            self._count_preview(attempt, shown)
                    case Candidates():
                        await self._choose_rows(attempt, task, event)
                    case Measurement() | ModelCapabilities():
                        await self.on_event(event)
                    case TaskOutput():
                        attempt.past_s += event.seconds
                        attempt.used_s = max(attempt.used_s, attempt.past_s)
                        return event
                if attempt.is_cancelled:
                    self.pool.cancel_task(task.id)
        raise EngineError("the pool ended without a result")

    def _count_preview(self, attempt: Attempt, shown: Progress) -> None:
        if shown.preview is not None and not attempt.has_preview:
            attempt.has_preview = True
            self.metrics.observe_first_preview(attempt.job)
