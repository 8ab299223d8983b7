"""Makes the canvas and the mask of `zoom`, `pan` and `square`, and a caption if nobody said what the picture shows."""

from dataclasses import dataclass, replace

from bot.commands import COMMANDS
from bot.commands.outpainting import Outpaint
from bot.error_texts import READ_AS
from bot.models import ModelRegistry
from bot.ports import ImageProcessor, Task, TaskImage
from bot.queue.parts.captions import caption_image
from bot.queue.parts.input_checks import check_pictures
from bot.queue.task_runner import RunPart


@dataclass(frozen=True, kw_only=True)
class OutpaintingPreparation:
    models: ModelRegistry
    images: ImageProcessor

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The picture itself is checked first: on its canvas it is smaller. Raises: Blocked, and what models do."""
        kind = COMMANDS.get(task.command)
        if kind is None or not issubclass(kind, Outpaint):
            return task
        picture = next(image for image in task.images if image.role == "init")
        score = await check_pictures(task, [picture], run_part)
        if not task.options.get("prompt"):
            caption = await caption_image(task, picture.media, self.models, run_part)
            task = replace(task, options={**task.options, "prompt": caption})
        if task.model.demo:
            task = await self._describe_ground(task, picture, run_part)
        made = await self.images.run_tool(
            "extend_canvas", [picture.media], {**task.options, "command": task.command}, owner=task.fairness_key
        )
        canvas, mask = (image.media for image in made)
        rules = replace(task.rules, input_score=score) if task.rules is not None else None
        return replace(task, rules=rules, images=(TaskImage("init", canvas), TaskImage("mask", mask)))

    async def _describe_ground(self, task: Task, picture: TaskImage, run_part: RunPart) -> Task:
        """With the ground alone as its prompt: demo models draw a thing that is named a second time."""
        prompt = str(task.options.get("prompt") or "")
        ground = _find_ground(prompt)
        if not ground:
            ground = _find_ground(await caption_image(task, picture.media, self.models, run_part))
        if ground in ("", prompt):
            return task
        options = {**task.options, "prompt": ground}
        options.pop("prompts", None)
        return replace(task, options=options, notes=(*task.notes, READ_AS.format(words=ground)))


def _find_ground(prompt: str) -> str:
    """Empty: it names none."""
    _, on, ground = prompt.rpartition(" on ")
    return ground.strip() if on or "background" in prompt.casefold() else ""
