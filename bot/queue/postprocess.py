"""Post-processing of a task's output: alt texts, image files and the stored result. Also plain resizing."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from bot import error_texts
from bot.commands.best_of import best_of
from bot.commands.preview import Preview, describe_preview, needs_no_model
from bot.commands.unprompted_alts import describe_unprompted
from bot.commands.upscale import Upscale, explain_resize, explain_upscale, keeps_content
from bot.errors import Blocked, EaselError
from bot.jobs import BY_BOT, Job, Media, Result, StoredImage
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, ModelRegistry, ModelSpec
from bot.options import clean_text
from bot.ports import ImageProcessor, MediaStore, Pool, RenderedImage, Task, TaskImage, TaskOutput
from bot.prompts.grammar import plain_text, prompt_at
from bot.queue.plain_tasks import caption_task, run_to_output
from bot.safety.policy import build_check, check_input_score

log = structlog.get_logger()

CAPTION_TIMEOUT_S = 2.0
"""Maximum time that a result waits for captions of its images."""
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Postprocessor:
    media: MediaStore
    pool: Pool
    image_processor: ImageProcessor
    models: ModelRegistry

    async def run_without_model(self, task: Task, locale: str) -> TaskOutput:
        """Resize, or draw a map. Raises: UnsupportedMedia, Blocked, EngineError, and what `Pool.run_task` does."""
        if task.command == Preview.name:
            return await self._draw_map(task)
        return await self._resize_image(task, locale)

    async def _draw_map(self, task: Task) -> TaskOutput:
        values = {name: task.options[name] for name in ("width", "height")}
        (image,) = await self.image_processor.run_tool(
            task.options["kind"], [task.images[0].media], values, owner=task.fairness_key
        )
        return TaskOutput(images=(await self._check_image(task, image),))

    async def _check_image(self, task: Task, image: RenderedImage) -> RenderedImage:
        """The image, which shows what the input does, with the higher score of both. Raises: Blocked."""
        if task.rules is None:
            return image
        *inputs, score = await self._score_images(task, image.media)
        for input_score in inputs:
            check_input_score(task.rules, input_score)
        known = [one for one in (score, *inputs) if one is not None]
        return replace(image, nsfw=None if score is None else max(known))

    async def _resize_image(self, task: Task, locale: str) -> TaskOutput:
        width, height = int(task.options["width"]), int(task.options["height"])
        resized = await self.image_processor.resize(task.images[0].media, width, height)
        image = await self._check_image(task, resized)
        translate = error_texts.translator(locale)
        models = [spec for spec in self.models if not self.models.is_stand_in(spec, IMAGE_TO_IMAGE)]
        note = explain_resize(models, width, height, translate)
        return TaskOutput(images=(image,), notes=(note,))

    async def _score_images(self, task: Task, output: Media) -> tuple[float | None, ...]:
        """The scores of the task's input images, then of its output, from a device's classifier."""
        check = build_check(task, "check", (*task.images, TaskImage("output", output)))
        async with aclosing(self.pool.run_task(check)) as events:
            async for event in events:
                if isinstance(event, TaskOutput) and len(event.scores) == len(check.images):
                    return event.scores
        raise Blocked("unchecked")

    async def alt_texts(
        self, job: Job, output: TaskOutput, *, fairness_key: str = "", may_wait: bool = True
    ) -> list[str]:
        """For each image a caption by the vision model, if it is loaded and has a free slot in time; else the prompt.

        Without a prompt, how it was made.

        `fairness_key`: see `Task`.
        """
        if job.command == Preview.name:
            return [describe_preview(job.options, error_texts.translator(job.origin.locale))] * len(output.images)
        is_prompted = bool(job.options.get("prompt"))
        made = describe_unprompted(job.command, job.options, error_texts.translator(job.origin.locale))
        drawn = {**job.options, "prompts": output.prompts} if output.prompts else job.options
        prompts = [plain_text(prompt_at(drawn, one.index)) if is_prompted else made for one in output.images]
        if not may_wait:
            return prompts
        captions = await self._captions(job, [image.media for image in output.images], fairness_key)
        return [caption or prompt for caption, prompt in zip(captions, prompts, strict=True)]

    async def store_result(self, job: Job, output: TaskOutput, alts: Sequence[str], *, device: str = "") -> Result:
        """Write and fsync the image files; `JobStore.save_result` inserts the rows. Raises: StorageFull."""
        images, is_compared = [], best_of(job.options) > 0
        for image, alt in zip(output.images, alts, strict=True):
            media_id = await self.media.write_file(image.media)
            images.append(
                StoredImage(
                    id=media_id,
                    media_type=image.media.media_type,
                    width=image.width,
                    height=image.height,
                    size=len(image.media.data),
                    alt=alt,
                    is_spoiler=image.is_spoiler,
                    is_adult=image.is_adult,
                    is_unchecked=image.is_unchecked,
                    seed=image.seed if is_compared else None,
                    score=None if image.score is None else round(image.score, 4),
                )
            )
        model = self.models.get(job.model)
        notes = [error_texts.format_note(note, job.origin.locale) for note in output.notes]
        if job.command == Upscale.name and model is not None:
            notes.append(explain_upscale(job.options, model, error_texts.translator(job.origin.locale)))
        is_only_tool = needs_no_model(job.command, job.options)
        is_own = is_only_tool or keeps_content(job.command, job.options)
        is_demo = model is not None and model.demo and not is_own
        demo = (error_texts.translator(job.origin.locale)(error_texts.DEMO_HINT),) if is_demo else ()
        return Result(
            media=tuple(images),
            text=output.text,
            usage=output.usage,
            seed=images[0].seed if is_compared and images else job.options.get("seed"),
            model=job.model,
            revision=output.revision,
            seconds=round(output.seconds, 3),
            device="" if is_only_tool else device,
            parameters=output.images[0].parameters if output.images else "",
            notes=(*job.origin.extra.get("notes", ()), *filter(None, notes), *demo),
        )

    # ------------------------------------------------------------ captions: best effort, with a time limit

    async def _captions(self, job: Job, images: Sequence[Media], fairness_key: str) -> list[str]:
        captions = [""] * len(images)
        model = self.models.default_for(IMAGE_TO_TEXT)
        if model is None or not any(model.name in status.loaded for status in self.pool.device_statuses()):
            return captions
        maker = self.models.get(job.model)
        is_from_photo = bool(job.options.get("prompt")) and any(image.author != BY_BOT for image in job.images)
        if model.demo and (maker is None or not maker.demo or is_from_photo):
            return captions  # a demo only knows what demos make
        try:
            async with asyncio.timeout(CAPTION_TIMEOUT_S):
                for number, image in enumerate(images):
                    await self._wait_for_slot(model)
                    captions[number] = await self._caption(f"{job.id}.alt{number}", model, image, fairness_key)
        except (TimeoutError, EaselError) as error:
            log.debug("no caption in time", action="caption_skipped", error=str(error))
        except Exception as error:  # a missing alt text must not cost the result
            log.warning("captioning failed", action="caption_failed", exc_info=error)
        return captions

    async def _wait_for_slot(self, model: ModelSpec) -> None:
        while not any(model.name in offer.loaded for offer in self.pool.list_offers()):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def _caption(self, task_id: str, model: ModelSpec, image: Media, fairness_key: str) -> str:
        task = caption_task(model, image, id=task_id, fairness_key=fairness_key)
        return clean_text((await run_to_output(self.pool, task)).text or "")
