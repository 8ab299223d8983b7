"""Finds the regions that words name, and makes them the mask of a task that repaints.

The masks of the last pictures are kept, because people try several prompts with one region.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bot.commands.region_words import choose_segmenter, not_found, split_regions
from bot.error_texts import NOT_SEEN
from bot.errors import EngineError
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION, IMAGE_TASKS, ModelRegistry, ModelSpec
from bot.ports import ImageProcessor, Task, TaskImage, TaskOutput
from bot.queue.parts.maps import MapCache
from bot.queue.task_runner import RunPart

GROW, FEATHER = 2.0, 0.75
"""Percent of the picture's shorter side: nothing of what was there remains around it, and no seam is seen."""


@dataclass(frozen=True, kw_only=True)
class FoundRegion:
    """Attributes:
    mask: of the picture's size; white is the region.
    notes: for the person.
    """

    mask: Media
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RegionFinder:
    models: ModelRegistry
    cache: MapCache = field(default_factory=MapCache)

    async def find_region(self, task: Task, picture: Media, words: str, run_part: RunPart) -> FoundRegion:
        """The union of what the words name. Raises: NoModel, InvalidOption: it is not in the picture, and what the
        model does."""
        model = choose_segmenter(self.models, task.command)
        digest, maker = hashlib.sha256(picture.data).hexdigest(), model.revision or model.capabilities.get("revision")
        key = ("region", digest, ",".join(split_regions(words)), model.name, str(maker))
        cached = self.cache.get(key)
        if cached is not None:
            return FoundRegion(mask=cached)
        output = await run_part(_segmentation_task(task, model, picture, words))
        if not output.images:
            raise EngineError(detail=f"{model.name} made no mask")
        notes = explain_missing("region", words, output)
        if not notes:
            self.cache.put(key, output.images[0].media)
        return FoundRegion(mask=output.images[0].media, notes=notes)


def _segmentation_task(task: Task, model: ModelSpec, picture: Media, words: str) -> Task:
    return Task(
        id=f"{task.id}.region",
        command=task.command,
        task=IMAGE_SEGMENTATION,
        model=model,
        options={"region": words},
        images=(TaskImage("init", picture),),
        fairness_key=task.fairness_key,
        is_exclusive=task.is_exclusive,
    )


def explain_missing(option: str, words: str, output: TaskOutput) -> tuple[str, ...]:
    """The notes of a segmentation task, one of them about words that it did not see. Raises: InvalidOption: it saw
    nothing.

    Its text, if it has one, names these words, one a line; an empty line is the main thing.
    """
    missing = output.text.split("\n") if output.text is not None else []
    if missing and len(missing) >= len(split_regions(words)):
        raise not_found(option, missing)
    return (*output.notes, *((NOT_SEEN.format(words=", ".join(missing)),) if missing else ()))


@dataclass(frozen=True, kw_only=True)
class RegionPreparation:
    images: ImageProcessor
    finder: RegionFinder

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The task with a mask of its region, united with the mask that it has. Raises: see `RegionFinder`."""
        words, keep = str(task.options.get("region") or ""), bool(task.options.get("keep"))
        picture = next((image.media for image in task.images if image.role == "init"), None)
        if picture is None or task.task not in IMAGE_TASKS or not (words or keep):
            return task
        drawn = [image.media for image in task.images if image.role == "mask"]
        found = await self.finder.find_region(task, picture, words, run_part) if words else None
        if found is not None:
            values = {"grow": GROW, "feather": FEATHER, "keep": keep}
            mask = await self._run_tool("shape_mask", task, [found.mask, *drawn], values)
        elif drawn:
            mask = await self._run_tool("invert_mask", task, drawn, {})
        else:
            return task
        others = [image for image in task.images if image.role != "mask"]
        notes = (*task.notes, *(found.notes if found else ()))
        return replace(task, images=(*others, TaskImage("mask", mask)), notes=notes)

    async def _run_tool(self, tool: str, task: Task, masks: Sequence[Media], values: Mapping[str, Any]) -> Media:
        (made,) = await self.images.run_tool(tool, masks, values, owner=task.fairness_key)
        return made.media


@dataclass(frozen=True, kw_only=True)
class RegionFinish:
    """Of tasks that show a region: a cutout, or the mask itself."""

    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """Raises: InvalidOption: what the words name is not in the picture."""
        if task.task != IMAGE_SEGMENTATION:
            return output
        notes = explain_missing("region", str(task.options.get("region") or ""), output)
        return replace(output, text=None, notes=notes)
