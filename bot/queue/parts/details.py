"""Remakes details of finished pictures enlarged: each thing that words name is found, and repainted by the same model.

A detail is an inpainting of its own: the engine cuts out a box around it, draws it at the model's size and pastes it
back. The picture keeps the metadata of its main task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.commands.detail_words import LEFT_OUT, STRENGTH, add_word
from bot.commands.inpainting import MASKED
from bot.commands.region_words import split_regions
from bot.error_texts import NOT_SEEN
from bot.errors import EngineError, InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE
from bot.ports import ImageProcessor, RenderedImage, SafetyRules, Task, TaskImage, TaskOutput
from bot.prompts.grammar import prompt_at
from bot.queue.parts.regions import RegionFinder
from bot.queue.task_runner import RunPart

MAX_THINGS = 4
"""Of one word in one picture, the largest first."""


@dataclass(frozen=True, kw_only=True)
class DetailFinish:
    images: ImageProcessor
    finder: RegionFinder

    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """Words for what no picture shows are noted. Raises: NoModel, and what the models do."""
        words = split_regions(str(task.options.get("detail") or ""))
        if not words or not output.images:
            return output
        made, seen = [], set()
        for image in output.images:
            for word in words:
                masks = await self._find_things(task, image.media, word, run_part)
                seen.update([word] if masks else [])
                for mask in masks:
                    image = await self._remake(task, image.index, image, mask, word, run_part)
            made.append(image)
        unseen = [word for word in words if word not in seen]
        notes = (NOT_SEEN.format(words=", ".join(unseen)),) if unseen else ()
        return replace(output, images=tuple(made), notes=(*output.notes, *notes))

    async def _find_things(self, task: Task, picture: Media, word: str, run_part: RunPart) -> list[Media]:
        """One mask for each thing of this name."""
        try:
            found = await self.finder.find_region(task, picture, word, run_part)
        except InvalidOption:
            return []
        values = {"count": MAX_THINGS}
        return [one.media for one in await self._run_tool("separate_things", task, [found.mask], values)]

    async def _remake(
        self, task: Task, index: int, image: RenderedImage, mask: Media, word: str, run_part: RunPart
    ) -> RenderedImage:
        output = await run_part(_detail_task(task, index, image.media, mask, word))
        if not output.images:
            raise EngineError(detail=f"{task.model.name} made no image of a detail")
        remade = output.images[0]
        (pasted,) = await self._run_tool("replace_pixels", task, [image.media, remade.media], {})
        return replace(image, media=pasted.media, nsfw=_strictest(task.rules, image.nsfw, remade.nsfw))

    async def _run_tool(
        self, tool: str, task: Task, images: list[Media], values: Mapping[str, object]
    ) -> list[RenderedImage]:
        return await self.images.run_tool(tool, images, values, owner=task.fairness_key)


def _detail_task(task: Task, index: int, picture: Media, mask: Media, word: str) -> Task:
    """The task of one detail of image `index`: with its prompt and seed, and the references of the main task."""
    options = {name: value for name, value in task.options.items() if name not in LEFT_OUT}
    options |= {
        "prompt": add_word(prompt_at(task.options, index), word),
        "seed": int(task.options.get("seed", 0)) + index,
        "count": 1,
        "strength": STRENGTH,
        "region": word,
        "inpaint_area": MASKED,
    }
    references = (image for image in task.images if image.role == "reference")
    return replace(
        task,
        id=f"{task.id}.detail",
        task=IMAGE_TO_IMAGE,
        options=options,
        images=(TaskImage("init", picture), TaskImage("mask", mask), *references),
    )


def _strictest(rules: SafetyRules | None, *scores: float | None) -> float | None:
    """The highest; None, unless that counts as sexual, if one of them was not checked."""
    highest = max((score for score in scores if score is not None), default=None)
    is_harmless = rules is not None and highest is not None and highest < rules.threshold
    return None if is_harmless and None in scores else highest
