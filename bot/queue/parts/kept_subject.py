"""Tells a demo model what stays in front of a ground that it repaints.

Demo models know only pictures of a thing on a ground: told of a ground alone, they draw another thing on it.
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
        """The task with what is seen in its picture before its prompt. Raises: what `Pool.run_task` does."""
        prompt = str(task.options.get("prompt") or "")
        picture = next((image.media for image in task.images if image.role == "init"), None)
        is_ground = task.task == IMAGE_TO_IMAGE and names_ground(task.options)
        if not (task.model.demo and is_ground and picture is not None) or " on " in f" {prompt} ":
            return task
        caption = await caption_image(task, picture, self.models, run_part)
        subject, _, _ = caption.partition(" on ")
        if not subject or subject == caption:
            return task
        read = f"{subject} on {prompt}"
        options = {**task.options, "prompt": read}
        options.pop("prompts", None)
        return replace(task, options=options, notes=(*task.notes, READ_AS.format(words=read)))
