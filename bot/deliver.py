"""The outbox: placeholder, progress, result, with fallbacks and back-off.

Only this module sends results. A delivery is retried until the platform confirms or refuses for good; edits are
repeated freely, new messages carry a nonce that is stable over restarts.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from bot.errors import EaselError, MediaNotFound, MessageGone, PlatformError, Undeliverable
from bot.events import Events
from bot.jobs import Job, Media
from bot.ports import Delivery, MediaStore, Outbox, Platform

log = structlog.get_logger()

IDLE_CHECK_S = 10.0
MAX_TRIES = 300
"""At five minutes each, a day of a platform being down."""


def back_off_s(tries: int) -> float:
    """Full jitter below min(300, 5 * 2^tries) seconds. Source: AWS, "Exponential backoff and jitter"."""
    return random.uniform(0.5, min(300.0, 5.0 * 2 ** min(tries, 10)))


@dataclass(kw_only=True)
class Deliverer:
    outbox: Outbox
    media: MediaStore
    events: Events
    platforms: Mapping[str, Platform]

    _busy: set[str] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _followed: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled. What was not confirmed stays pending and goes out after the next start."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                if not await self._start_due(group):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._woken.wait(), await self._idle_s())

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start each due delivery whose job has none under way, so that a placeholder precedes its result."""
        try:
            due = await self.outbox.due()
        except EaselError as error:
            log.warning("the outbox has to wait", action="outbox_failed", code=error.code)
            return False
        started = False
        for delivery in due:
            if delivery.job.id not in self._busy and delivery.job.origin.platform in self.platforms:
                self._busy.add(delivery.job.id)
                group.create_task(self._deliver(delivery, group))
                started = True
        return started

    async def _idle_s(self) -> float:
        with suppress(EaselError):
            due = await self.outbox.next_due_s()
            return IDLE_CHECK_S if due is None else min(IDLE_CHECK_S, max(0.2, due))
        return IDLE_CHECK_S

    async def _deliver(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        job = delivery.job
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                await self._try(delivery, group)
            except Exception as error:  # the edge of a loop that must go on
                log.error("delivery failed", action="delivery_failed", kind=delivery.kind, exc_info=error)
                with suppress(EaselError):
                    await self.outbox.retry(delivery, delay_s=back_off_s(delivery.tries), reason=type(error).__name__)
            finally:
                self._busy.discard(job.id)
                self._woken.set()

    async def _try(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        platform = self.platforms[delivery.job.origin.platform]
        try:
            if delivery.kind == "placeholder":
                message_ref = await platform.place(delivery)
            else:
                await self._stop_progress(delivery.job.id)
                message_ref = await self._send_result(platform, delivery)
        except Undeliverable as error:
            log.warning("undeliverable", action="undeliverable", kind=delivery.kind, detail=error.detail)
            await self.outbox.give_up(delivery, error.detail)
            return
        except PlatformError as error:
            await self._postpone(delivery, error)
            return
        await self.outbox.sent(delivery, message_ref)
        self.events.changed(delivery.job.id)
        if delivery.kind == "placeholder" and not delivery.job.state.is_final:
            follower = self._show_progress(platform, delivery.job, message_ref)
            self._followed[delivery.job.id] = group.create_task(follower)

    async def _send_result(self, platform: Platform, delivery: Delivery) -> str:
        pictures = await self._pictures(delivery.job)
        if delivery.message_ref is not None:
            try:
                return await platform.edit(delivery, pictures)
            except MessageGone:
                log.info("placeholder is gone, sending anew", action="placeholder_gone")
        return await platform.send(delivery, pictures)

    async def _postpone(self, delivery: Delivery, error: PlatformError) -> None:
        if delivery.tries + 1 >= MAX_TRIES:
            await self.outbox.give_up(delivery, error.detail)
            return
        delay = back_off_s(delivery.tries) if error.retry_after_s is None else error.retry_after_s
        log.info("delivery postponed", action="delivery_postponed", kind=delivery.kind, delay_s=round(delay, 1))
        await self.outbox.retry(delivery, delay_s=delay, reason=error.detail)

    async def _pictures(self, job: Job) -> list[Media]:
        pictures = []
        for picture in job.result.media if job.result else ():
            with suppress(MediaNotFound):
                pictures.append(await self.media.read(picture.id, None))
        return pictures

    # ------------------------------------------------------------ progress: best effort, latest wins

    async def _show_progress(self, platform: Platform, job: Job, message_ref: str) -> None:
        with self.events.follow(job.id) as follower:
            while True:
                _, progress = await follower.next()
                if progress is not None:
                    with suppress(PlatformError):
                        await platform.progress(job, message_ref, progress)

    async def _stop_progress(self, job_id: str) -> None:
        """Final beats progress: none may arrive after the result."""
        follower = self._followed.pop(job_id, None)
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])
