"""What happens between a device's last step and the record: alt texts, files, and the result that names them.

Also what needs no device at all: resizing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from bot import error_texts
from bot.commands import Caption
from bot.errors import EaselError
from bot.jobs import ImageRef, Job, Media, Picture, Result
from bot.models import IMAGE_TO_TEXT, Models, ModelSpec
from bot.options import clean_text
from bot.ports import Done, MediaStore, Pictures, Pool, Task, TaskImage
from bot.prompts.grammar import prompt_of, words_of

log = structlog.get_logger()

CAPTION_S = 2.0
"""How long a result waits, at most, for captions of its pictures."""
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Finishing:
    media: MediaStore
    pool: Pool
    pictures: Pictures
    models: Models

    async def resize(self, task: Task, locale: str) -> Done:
        """Only as large as asked for, without a model. Raises: UnsupportedMedia, EngineError."""
        width, height = int(task.options["width"]), int(task.options["height"])
        made = await self.pictures.enlarge(task.images[0].media, width, height)
        say = error_texts.translator(locale)
        note = say("Only resized: no model here was to refine it at {width}x{height}.").format(
            width=width, height=height
        )
        return Done(pictures=(made,), notes=(note,))

    async def alts(self, job: Job, done: Done, *, share: str = "", may_wait: bool = True) -> list[str]:
        """For each picture what the vision model sees, if it may and is loaded and free in time; else the prompt.

        `share`: see `Task`.
        """
        is_prompted = bool(job.options.get("prompt"))
        prompts = [words_of(prompt_of(job.options, n)) if is_prompted else "" for n in range(len(done.pictures))]
        if not may_wait:
            return prompts
        captions = await self._captions(job, [made.media for made in done.pictures], share)
        return [caption or prompt for caption, prompt in zip(captions, prompts, strict=True)]

    async def keep(self, job: Job, done: Done, alts: Sequence[str]) -> Result:
        """The files first, each fsynced; the rows come with `JobStore.render`. Raises: StorageFull."""
        pictures = []
        for made, alt in zip(done.pictures, alts, strict=True):
            media_id = await self.media.write(made.media)
            pictures.append(
                Picture(
                    id=media_id,
                    media_type=made.media.media_type,
                    width=made.width,
                    height=made.height,
                    size=len(made.media.data),
                    alt=alt,
                    is_spoiler=made.is_spoiler,
                    is_adult=made.is_adult,
                )
            )
        model = self.models.get(job.model)
        notes = tuple(error_texts.say_note(note, job.origin.locale) for note in done.notes)
        demo = (error_texts.translator(job.origin.locale)(error_texts.DEMO_HINT),) if model and model.demo else ()
        return Result(
            media=tuple(pictures),
            text=done.text,
            seed=job.options.get("seed"),
            model=job.model,
            revision=done.revision,
            seconds=round(done.seconds, 3),
            parameters=done.pictures[0].parameters if done.pictures else "",
            notes=(*notes, *demo),
        )

    # ------------------------------------------------------------ captions: best effort, and never for long

    async def _captions(self, job: Job, pictures: Sequence[Media], share: str) -> list[str]:
        captions = [""] * len(pictures)
        model = self.models.default_for(IMAGE_TO_TEXT)
        if model is None or not any(model.name in status.warm for status in self.pool.statuses()):
            return captions
        try:
            async with asyncio.timeout(CAPTION_S):
                for number, picture in enumerate(pictures):
                    await self._wait_for_room(model)
                    captions[number] = await self._caption(f"{job.id}.alt{number}", model, picture, share)
        except (TimeoutError, EaselError) as error:
            log.debug("no caption in time", action="caption_skipped", error=str(error))
        except Exception as error:  # a result must not be lost for want of an alt text
            log.warning("captioning failed", action="caption_failed", exc_info=error)
        return captions

    async def _wait_for_room(self, model: ModelSpec) -> None:
        while not any(model.name in offer.warm for offer in self.pool.offers()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _caption(self, task_id: str, model: ModelSpec, picture: Media, share: str) -> str:
        options = Caption.from_options({}, (ImageRef(""),)).fill_options(model, 0)
        task = Task(
            id=task_id,
            command=Caption.name,
            task=IMAGE_TO_TEXT,
            model=model,
            options=options,
            images=(TaskImage("init", picture),),
            share=share,
        )
        async with aclosing(self.pool.run(task)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return clean_text(event.text or "")
        return ""
