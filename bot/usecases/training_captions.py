"""Captions for the images of a training folder that have none, by the vision model."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bot.errors import EaselError, TooLarge, TrainingRefused
from bot.models import IMAGE_TO_TEXT, ModelRegistry, ModelSpec
from bot.options import clean_text
from bot.ports import ImageProcessor, Pool
from bot.queue.plain_tasks import caption_task, run_to_output
from bot.usecases.training_folders import list_uncaptioned

OWNER = "training"
"""Whose turn at decoding images it is."""


@dataclass(frozen=True, kw_only=True)
class TrainingCaptions:
    models: ModelRegistry
    pool: Pool
    image_processor: ImageProcessor

    async def caption_images(
        self, folder: Path, words: str, trained: ModelSpec, on_progress: Callable[[int, int], None]
    ) -> dict[str, str]:
        """By file name, each with the words in front: what is learned is named by them.

        A demo model only describes what demo models make. Raises: TrainingRefused: an image has neither a caption nor
        words, or is broken.
        """
        paths = await asyncio.to_thread(list_uncaptioned, folder)
        model = self.models.default_for(IMAGE_TO_TEXT)
        if model is not None and model.demo and not trained.demo:
            model = None
        captions: dict[str, str] = {}
        for done, path in enumerate(paths):
            on_progress(done, len(paths))
            seen = "" if model is None else await self._caption(model, path)
            captions[path.name] = ", ".join(filter(None, (words, seen)))
            if not captions[path.name]:
                raise TrainingRefused("no_caption", file=path.name)
        return captions

    async def _caption(self, model: ModelSpec, path: Path) -> str:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            image = (await self.image_processor.sanitize(data, owner=OWNER)).media
        except TooLarge as error:
            raise TrainingRefused("large", file=path.name) from error
        except (EaselError, OSError) as error:
            raise TrainingRefused("broken", file=path.name) from error
        task = replace(caption_task(model, image, id=f"training-{path.name}"), is_part=True)
        return clean_text((await run_to_output(self.pool, task)).text or "")
