"""The mask that a preview of a region shows: grown and feathered, as a request with that region uses it."""

from dataclasses import dataclass, replace

from bot.commands.preview import Preview
from bot.models import IMAGE_SEGMENTATION
from bot.ports import ImageProcessor, Task, TaskOutput
from bot.queue.parts.regions import FEATHER, GROW
from bot.queue.task_runner import RunPart


@dataclass(frozen=True, kw_only=True)
class PreviewFinish:
    images: ImageProcessor

    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """Raises: EngineError."""
        if task.command != Preview.name or task.task != IMAGE_SEGMENTATION or not output.images:
            return output
        mask = output.images[0]
        values = {"grow": GROW, "feather": FEATHER, "keep": False}
        (shaped,) = await self.images.run_tool("shape_mask", [mask.media], values, owner=task.fairness_key)
        return replace(output, images=(replace(shaped, nsfw=mask.nsfw),))
