"""Prepares a refinement: an upscaling model enlarges the picture where there is one, and each tile gets its prompt and
its part of a control picture."""

from dataclasses import dataclass, replace

import structlog

from bot.commands.parts import captioning_model
from bot.commands.refine_tiles import (
    MAX_CAPTIONED_TILES,
    REFINE,
    TILE_CONTROL,
    TILE_PROMPTS,
    RefinePlan,
    has_tile_control,
    plan_refinement,
    tile_prompt,
)
from bot.commands.upscale import UPSCALER, Upscale, enlarging_model
from bot.error_texts import ENLARGED_FIRST
from bot.errors import EaselError, Interrupted, JobCancelled
from bot.jobs import Media
from bot.models import IMAGE_UPSCALING, ModelRegistry
from bot.ports import ImageProcessor, Task, TaskImage
from bot.queue.parts.captions import caption_image
from bot.queue.parts.input_checks import check_pictures
from bot.queue.task_runner import RunPart

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class RefinePreparation:
    models: ModelRegistry
    images: ImageProcessor

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """Raises: Interrupted, JobCancelled, UnsupportedMedia, Blocked."""
        if task.command != Upscale.name or task.options.get("method") != REFINE:
            return task
        task = await self._enlarge(task, run_part)
        plan = plan_refinement(task.options, task.model)
        if plan is None:
            return task
        task = await self._add_prompts(task, plan, run_part)
        return _with_control(task) if has_tile_control(task.model) else task

    async def _enlarge(self, task: Task, run_part: RunPart) -> Task:
        """The task with the picture as an upscaling model enlarges it, after a check of the picture itself; without
        one, the engine scales it."""
        upscaler = enlarging_model(self.models, task.model)
        if upscaler is None:
            return task
        score = await check_pictures(task, [one for one in task.images if one.role == "init"], run_part)
        task = replace(task, rules=replace(task.rules, input_score=score)) if task.rules is not None else task
        names = ("width", "height", "scale")
        own = {name: task.options[name] for name in names if name in task.options}
        part = replace(
            task,
            id=f"{task.id}.enlarge",
            task=IMAGE_UPSCALING,
            model=upscaler,
            options={**own, "method": UPSCALER, "count": 1, "model": upscaler.name, "prompt": ""},
            addons=(),
            wants_previews=False,
            rules=None,
        )
        try:
            output = await run_part(part)
        except (Interrupted, JobCancelled):
            raise
        except EaselError as error:
            log.warning("a picture is refined without an upscaler", action="enlarge_skipped", error=str(error))
            return task
        if not output.images:
            return task
        images = (TaskImage("init", output.images[0].media), *(one for one in task.images if one.role != "init"))
        return replace(task, images=images, notes=(*task.notes, ENLARGED_FIRST.format(words=upscaler.display_name)))

    async def _add_prompts(self, task: Task, plan: RefinePlan, run_part: RunPart) -> Task:
        """With the prompt of each tile where it is not the request's.

        A demo gets none: it knows single things in the middle of a picture, and would draw them in every tile.
        """
        if task.model.demo:
            return replace(task, options={**task.options, TILE_PROMPTS: [""] * len(plan.boxes)})
        if len(plan.boxes) > MAX_CAPTIONED_TILES or captioning_model(self.models, task.model) is None:
            return task
        prompt, picture = str(task.options.get("prompt") or ""), _init_of(task)
        values = {"boxes": plan.boxes, "size": (int(task.options["width"]), int(task.options["height"]))}
        crops = await self.images.run_tool("crop_boxes", [picture], values, owner=task.fairness_key)
        captions = [
            await caption_image(task, crop.media, self.models, run_part, number) for number, crop in enumerate(crops)
        ]
        prompts = [tile_prompt(prompt, caption) for caption in captions]
        return replace(task, options={**task.options, TILE_PROMPTS: prompts})


def _init_of(task: Task) -> Media:
    return next(image.media for image in task.images if image.role == "init")


def _with_control(task: Task) -> Task:
    """The picture controls its own refinement."""
    control = TaskImage("control", _init_of(task), kind=TILE_CONTROL, is_ready=True)
    return replace(task, images=(*task.images, control))
