"""What plugins do with the texts of a job: its prompts before anything is drawn, and its answer before it is stored.

The block list reads what they write. A prompt that it refuses ends the job; an answer stays as it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot.commands import Answer, answer_of
from bot.commands.prompt_enhancing import BEFORE_PLUGINS
from bot.errors import Blocked, InvalidOption
from bot.jobs import Job
from bot.options import clean_text
from bot.plugins.hook_calls import HookCall
from bot.plugins.hook_runner import HookFailed
from bot.plugins.hook_values import AnswerText, PromptText, Refusal, Requester
from bot.plugins.plugin_manager import PluginManager
from bot.ports import ModerationPolicy, Task, TaskOutput
from bot.problem_texts.plugin_problems import (
    ANSWER_CHANGED,
    NEGATIVE_CHANGED,
    NO_EFFECT,
    NOT_ALLOWED,
    PROMPT_CHANGED,
    UNUSABLE,
)
from bot.prompts.grammar import plain_text, prompt_at, task_prompts
from bot.prompts.resolver import MAX_RESOLVED_PROMPT, PromptResolver, check_resolved

log = structlog.get_logger()

MAX_ANSWER = 4000
NEGATIVE = "negative_prompt"


@dataclass
class _Changes:
    """Texts that plugins changed, by the text before; the plugins that did, and those that failed."""

    prompts: dict[str, str] = field(default_factory=dict)
    negative: str = ""
    changed_by: dict[str, str] = field(default_factory=dict)
    """By its plugin, the note on a change."""
    failed: dict[str, str] = field(default_factory=dict)
    """By its plugin, why one had no effect."""

    def notes(self) -> list[str]:
        failed = [NO_EFFECT.format(name=name, reason=reason) for name, reason in self.failed.items()]
        return [*self.changed_by.values(), *failed]


@dataclass(frozen=True, kw_only=True)
class PluginTexts:
    manager: PluginManager
    moderation: ModerationPolicy
    prompt_resolver: PromptResolver

    # ------------------------------------------------------------ prompts

    async def change_prompts(self, job: Job, task: Task) -> Task:
        """The task with the prompts that plugins made of its own. Raises: Blocked."""
        calls = self.manager.list_calls("easel_prompt")
        if not calls or not task.options.get("prompt") or answer_of(task.command) is not Answer.IMAGES:
            return task
        changes = _Changes()
        for prompt in task_prompts(task.options):
            changes.prompts[prompt] = await self._change(calls, job, task, prompt, changes)
        negative = str(task.options.get(NEGATIVE) or "")
        if negative:
            changes.negative = await self._change(calls, job, task, negative, changes, is_negative=True)
        if not changes.changed_by:
            return replace(task, notes=(*task.notes, *changes.notes()))
        return await self._apply(job, task, changes)

    async def _change(
        self,
        calls: Iterable[HookCall],
        job: Job,
        task: Task,
        text: str,
        changes: _Changes,
        *,
        is_negative: bool = False,
    ) -> str:
        """The text after all plugins. One that fails is not asked again for this job."""
        for call in calls:
            if call.name in changes.failed:
                continue
            shown = PromptText(
                job=job.id,
                text=text,
                words=plain_text(text),
                is_negative=is_negative,
                command=job.command,
                model=task.model.name,
                by=requester_of(job),
            )
            try:
                answer = await call.run(str, prompt=shown)
            except (HookFailed, Refusal) as failed:
                changes.failed[call.name] = getattr(failed, "reason", UNUSABLE)
                continue
            changed = text if answer is None else clean_text(answer[: 4 * MAX_RESOLVED_PROMPT])
            if not changed or len(changed) > MAX_RESOLVED_PROMPT:
                call.plugin.runner.report(f"easel_prompt must return 1 to {MAX_RESOLVED_PROMPT} characters.")
                changes.failed[call.name] = UNUSABLE
            elif changed != text:
                template = NEGATIVE_CHANGED if is_negative else PROMPT_CHANGED
                note = template.format(name=call.name, words=changed)
                before = changes.changed_by.get(call.name)
                changes.changed_by[call.name] = note if before is None else f"{before}\n{note}"
                text = changed
        return text

    async def _apply(self, job: Job, task: Task, changes: _Changes) -> Task:
        options = _with_texts(task.options, changes)
        await self.moderation.check_written(job, options)
        try:
            check_resolved(options, task.model)
            addons = await self.prompt_resolver.addons_used(options, task.model)
        except InvalidOption as error:
            log.warning("a plugin's prompt cannot be used", action="prompt_unusable", problem=error.problem)
            changes.failed |= dict.fromkeys(changes.changed_by, UNUSABLE)
            changes.changed_by.clear()
            return replace(task, notes=(*task.notes, *changes.notes()))
        notes = [line for note in changes.notes() for line in note.split("\n")]
        return replace(task, options=options, addons=addons, notes=(*task.notes, *notes))

    # ------------------------------------------------------------ answers

    async def finish(self, job: Job, task: Task, output: TaskOutput) -> TaskOutput:
        """With the prompts that were drawn, or with the answer that plugins made of the model's."""
        if BEFORE_PLUGINS in task.options and not output.prompts:
            count = int(task.options.get("count", 1))
            output = replace(output, prompts=tuple(prompt_at(task.options, index) for index in range(count)))
        for call in self.manager.list_calls("easel_answer") if output.text is not None else ():
            output = await self._change_answer(call, job, task, output)
        return output

    async def _change_answer(self, call: HookCall, job: Job, task: Task, output: TaskOutput) -> TaskOutput:
        shown = AnswerText(
            job=job.id,
            text=output.text or "",
            command=job.command,
            question=str(job.options.get("question") or ""),
            images=len(job.images),
            model=task.model.name,
            by=requester_of(job),
        )
        try:
            answer = await call.run(str, answer=shown)
        except (HookFailed, Refusal) as failed:
            return _with_note(output, NO_EFFECT.format(name=call.name, reason=getattr(failed, "reason", UNUSABLE)))
        changed = shown.text if answer is None else clean_answer(answer)
        if changed == shown.text:
            return output
        if not changed:
            call.plugin.runner.report(f"easel_answer must return 1 to {MAX_ANSWER} characters.")
            return _with_note(output, NO_EFFECT.format(name=call.name, reason=UNUSABLE))
        try:
            await self.moderation.check_written(job, {"prompt": changed})
        except Blocked:
            return _with_note(output, NO_EFFECT.format(name=call.name, reason=NOT_ALLOWED))
        return replace(_with_note(output, ANSWER_CHANGED.format(name=call.name)), text=changed)


def requester_of(job: Job) -> Requester:
    origin = job.origin
    return Requester(person=job.owner, platform=origin.platform, locale=origin.locale, is_admin=origin.is_admin)


def clean_answer(text: str) -> str:
    """Its lines, each cleaned; "" if it is too long."""
    cleaned = "\n".join(clean_text(line) for line in text[: 4 * MAX_ANSWER].splitlines()).strip()
    return cleaned if len(cleaned) <= MAX_ANSWER else ""


def _with_note(output: TaskOutput, note: str) -> TaskOutput:
    return replace(output, notes=(*output.notes, note))


def _with_texts(before: Mapping[str, Any], changes: _Changes) -> dict[str, Any]:
    options = dict(before)
    options[BEFORE_PLUGINS] = {name: before[name] for name in ("prompt", "prompts", NEGATIVE) if name in before}
    options["prompt"] = changes.prompts.get(str(before["prompt"]), before["prompt"])
    if "prompts" in before:
        options["prompts"] = [changes.prompts.get(prompt, prompt) for prompt in before["prompts"]]
    if changes.negative:
        options[NEGATIVE] = changes.negative
    return options
