"""Tells a demo model what stays in a picture of which it repaints a part.

Demo models know only pictures of a thing on a ground: told of a ground alone, they draw another thing on it; told of a
thing alone, they draw it on a ground of their own.
"""

from dataclasses import dataclass, replace

from bot.commands.inpainting import names_ground
from bot.error_texts import READ_AS
from bot.models import IMAGE_TO_IMAGE, ModelRegistry
from bot.ports import Task
from bot.queue.parts.captions import caption_image
from bot.queue.task_runner import RunPart


@dataclass(frozen=True, kw_only=True)
class KeptSubjectPreparation:
    models: ModelRegistry

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The task with a prompt of a thing and its ground. Raises: what `Pool.run_task` does."""
        prompt, is_ground = str(task.options.get("prompt") or ""), names_ground(task.options)
        roles = {image.role: image.media for image in task.images}
        is_part = task.task == IMAGE_TO_IMAGE and "init" in roles and "mask" in roles
        if not (task.model.demo and is_part and _is_incomplete(prompt, is_ground=is_ground)):
            return task
        caption = await caption_image(task, roles["init"], self.models, run_part)
        subject, _, ground = caption.partition(" on ")
        if not subject or not ground:
            return task

        def complete(words: str) -> str:
            return f"{subject} on {words}" if is_ground else f"{words} on {ground}"

        options = {**task.options, "prompt": complete(prompt)}
        if "prompts" in options:
            options["prompts"] = [complete(one) for one in options["prompts"]]
        return replace(task, options=options, notes=(*task.notes, READ_AS.format(words=options["prompt"])))


def _is_incomplete(prompt: str, *, is_ground: bool) -> bool:
    """Whether it names a ground alone, or a thing alone."""
    has_both = " on " in f" {prompt} "
    return bool(prompt) and not has_both and (is_ground or "background" not in prompt)
