"""Makes the maps of control images that are pictures: an engine only gets controls that are maps.

A picture is first cropped and resized to the size asked for, so that its map has this size. The maps of the last
pictures are kept, because people try several prompts with one control.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from bot.commands.control_maps import MAP_TASKS, choose_map_model
from bot.commands.preview import CONTROL, Preview
from bot.error_texts import NO_PERSON
from bot.errors import EngineError, InvalidOption
from bot.jobs import Media
from bot.models import ModelRegistry, ModelSpec
from bot.ports import ImageProcessor, Task, TaskImage
from bot.queue.parts.input_checks import check_pictures
from bot.queue.task_runner import RunPart

MAX_CACHE_BYTES = 32 * 2**20


@dataclass
class MapCache:
    """The maps that were used last, by everything that they depend on."""

    max_bytes: int = MAX_CACHE_BYTES
    _maps: OrderedDict[tuple[str, ...], Media] = field(default_factory=OrderedDict)

    def get(self, key: tuple[str, ...]) -> Media | None:
        if key in self._maps:
            self._maps.move_to_end(key)
        return self._maps.get(key)

    def put(self, key: tuple[str, ...], media: Media) -> None:
        self._maps[key] = media
        while sum(len(one.data) for one in self._maps.values()) > self.max_bytes:
            self._maps.popitem(last=False)

    def clear(self) -> None:
        """Whose pictures they show is not known, so they all go when something is erased."""
        self._maps.clear()


@dataclass(frozen=True, kw_only=True)
class MapPreparation:
    models: ModelRegistry
    images: ImageProcessor
    cache: MapCache = field(default_factory=MapCache)

    async def prepare(self, task: Task, run_part: RunPart) -> Task:
        """The task with a map in place of each control that is a picture, which is checked before it is replaced.

        Raises: InvalidOption, NoModel, Blocked, and what the model of the map does.
        """
        pictures = tuple(image for image in task.images if image.role == "control" and not image.is_ready)
        if not pictures:
            return task
        await check_pictures(task, pictures, run_part)
        images = [
            await self._make_map(task, image, run_part) if image.role == "control" and not image.is_ready else image
            for image in task.images
        ]
        return replace(task, images=tuple(images))

    async def _make_map(self, task: Task, image: TaskImage, run_part: RunPart) -> TaskImage:
        size = {name: int(task.options[name]) for name in ("width", "height") if name in task.options}
        model = choose_map_model(image.kind, self.models, task.command) if image.kind in MAP_TASKS else None
        maker = f"{model.name}@{model.revision or model.capabilities.get('revision', '')}" if model else ""
        digest = hashlib.sha256(image.media.data).hexdigest()
        key = (digest, image.kind, maker, *(str(side) for side in size.values()))
        made = self.cache.get(key)
        if made is None:
            if model is not None:
                made = await self._predict_map(task, image, model, size, run_part)
            else:
                made = await self._run_tool(image.kind, task, image.media, size)
            self.cache.put(key, made)
        return replace(image, media=made, is_ready=True)

    async def _run_tool(self, tool: str, task: Task, media: Media, size: dict[str, int]) -> Media:
        (made,) = await self.images.run_tool(tool, [media], size, owner=task.fairness_key)
        return made.media

    async def _predict_map(
        self, task: Task, image: TaskImage, model: ModelSpec, size: dict[str, int], run_part: RunPart
    ) -> Media:
        fitted = await self._run_tool("fit_control", task, image.media, size)
        part = Task(
            id=f"{task.id}.map",
            command=Preview.name,
            task=MAP_TASKS[image.kind],
            model=model,
            options={"what": CONTROL, "kind": image.kind},
            images=(TaskImage("init", fitted),),
            fairness_key=task.fairness_key,
            is_exclusive=task.is_exclusive,
        )
        output = await run_part(part)
        if NO_PERSON in output.notes:
            raise InvalidOption(image.kind, "no_person")
        if not output.images:
            raise EngineError(detail=f"{part.model.name} made no map")
        return output.images[0].media
