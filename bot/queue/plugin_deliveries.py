"""Tells plugins of jobs that people have received: once, in the background, and not again after a restart."""

import asyncio
import copy
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from bot.errors import EaselError, MediaNotFound
from bot.jobs import Job, JobState
from bot.plugins.hook_calls import HookCall
from bot.plugins.hook_runner import HookFailed
from bot.plugins.hook_values import DeliveredImage, DeliveredJob, Refusal
from bot.plugins.plugin_manager import PluginManager
from bot.ports import MediaStore
from bot.queue.parts.plugin_texts import requester_of

log = structlog.get_logger()

CLOSE_S = 10.0
MAX_WAITING = 100
"""Deliveries that plugins have not been told of; further ones are left out, so that their images fit into memory."""


@dataclass(eq=False)
class PluginDeliveries:
    manager: PluginManager
    media: MediaStore
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def observe(self, job: Job) -> None:
        """A job has ended, or its result was delivered to a chat."""
        calls = self.manager.list_calls("easel_deliver")
        if not calls or job.result is None or job.state is not JobState.DELIVERED:
            return
        if len(self._tasks) >= MAX_WAITING:
            log.warning("plugins were not told of a delivery", action="delivery_not_told", job_id=job.id)
            return
        task = asyncio.create_task(self._tell(job, calls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Those that wait are told, if that takes no longer than `CLOSE_S`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, job: Job, calls: Iterable[HookCall]) -> None:
        async with self._turn:  # the images of one job at a time are in memory
            try:
                delivered = await self._describe(job)
            except EaselError as error:
                log.warning("plugins were not told of a delivery", action="delivery_not_told", error=str(error))
                return
            for call in calls:
                with suppress(HookFailed, Refusal):
                    await call.run(object, job=delivered)

    async def _describe(self, job: Job) -> DeliveredJob:
        assert job.result is not None
        images = []
        for image in job.result.media:
            with suppress(MediaNotFound):
                media = await self.media.read_media(image.id, job.owner)
                images.append(
                    DeliveredImage(
                        data=media.data,
                        media_type=media.media_type,
                        width=image.width,
                        height=image.height,
                        alt=image.alt,
                        seed=job.result.seed_of(image.number),
                    )
                )
        return DeliveredJob(
            id=job.id,
            command=job.command,
            options=copy.deepcopy(dict(job.options)),
            model=job.result.model or job.model,
            text=job.result.text,
            images=tuple(images),
            seconds=job.result.seconds,
            by=requester_of(job),
        )
