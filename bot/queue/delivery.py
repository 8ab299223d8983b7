"""The outbox: placeholder, progress, result, with fallbacks and back-off.

Only this module sends results. A delivery is retried until the platform confirms or refuses for good; edits are
repeated freely, new messages carry a nonce that is stable over restarts.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from bot.errors import EaselError, MediaNotFound, MessageGone, PlatformError, StorageBusy, StorageFull, Undeliverable
from bot.jobs import Job, Media
from bot.ports import Delivery, MediaStore, Outbox, Platform, Progress
from bot.queue.progress import Events

log = structlog.get_logger()
T = TypeVar("T")

IDLE_CHECK_S = 10.0
OVERDUE_CHECK_S = 1.0
RETRY_RECORD_S = 2.0
AT_ONCE = 20
"""Deliveries under way on one platform; the pictures of no more than these are in memory."""
CALL_S = 120.0
"""A platform that has not answered by then has not confirmed."""
PROGRESS_S = 5.0
"""How long a result waits for progress that is on its way."""
ABSENT_S = 600.0
"""How long deliveries wait for a platform that does not run here."""
MAX_TRIES = 600
"""At two and a half minutes each on average, a day of a platform being down."""
LAST_TRIES = MAX_TRIES + 30 * 24 * 4
"""A month more, at a quarter of an hour each on average."""


def back_off_s(tries: int) -> float:
    """Full jitter below min(300, 5 * 2^tries) seconds, after a day below half an hour.

    Source: AWS, "Exponential backoff and jitter".
    """
    longest = 1800.0 if tries >= MAX_TRIES else min(300.0, 5.0 * 2 ** min(tries, 10))
    return random.uniform(0.5, longest)


class Erased(Undeliverable):
    """There is nothing to deliver any more."""


@dataclass(frozen=True)
class Showing:
    """Somebody's progress being shown; the lock is held while a step is on its way."""

    task: asyncio.Task[None]
    lock: asyncio.Lock


@dataclass(kw_only=True)
class Deliverer:
    outbox: Outbox
    media: MediaStore
    events: Events
    platforms: Mapping[str, Platform]

    _busy: set[str] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _shown: dict[str, Showing] = field(default_factory=dict)
    _room: defaultdict[str, asyncio.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
    )

    def connect(self, adapters: Iterable[object]) -> None:
        """Deliver through those of them that are chat platforms."""
        self.platforms = {**self.platforms, **{one.name: one for one in adapters if isinstance(one, Platform)}}

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled. What was not confirmed stays pending and goes out after the next start."""
        async with asyncio.TaskGroup() as group:
            await self._follow_again(group)
            while True:
                self._woken.clear()
                try:
                    if await self._start_due(group):
                        continue
                    idle_s = await self._idle_s()
                except Exception as error:  # the edge of a loop that must go on
                    log.warning("the outbox has to wait", action="outbox_failed", exc_info=error)
                    idle_s = RETRY_RECORD_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):  # in Python 3.11, wait_for can swallow a cancel
                        await self._woken.wait()

    async def _follow_again(self, group: asyncio.TaskGroup) -> None:
        """Show progress where a placeholder stands already: before the last stop it was shown there, too."""
        try:
            for delivery in await self.outbox.followed():
                platform = self.platforms.get(delivery.job.origin.platform)
                if platform is not None and delivery.message_ref is not None:
                    self._follow(platform, delivery.job, delivery.message_ref, group)
        except Exception as error:  # progress is best effort
            log.warning("progress is not shown again", action="follow_failed", exc_info=error)

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start each due delivery whose job has none under way, so that a placeholder precedes its result.

        Those under way are left out: one that ends while we look could still be found as due.
        """
        started = False
        for delivery in await self.outbox.due(besides=frozenset(self._busy)):
            if delivery.job.id not in self._busy:
                self._busy.add(delivery.job.id)
                group.create_task(self._deliver(delivery, group))
                started = True
        return started

    async def _idle_s(self) -> float:
        due = await self.outbox.next_due_s()
        if due is None:
            return IDLE_CHECK_S
        return min(IDLE_CHECK_S, max(0.05, due)) if due > 0 else OVERDUE_CHECK_S

    async def _deliver(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        job = delivery.job
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                await self._try(delivery, group)
            except Exception as error:  # the edge of a loop that must go on
                log.error("delivery failed", action="delivery_failed", kind=delivery.kind, exc_info=error)
                await self._try_later(delivery, type(error).__name__)
            finally:
                self._busy.discard(job.id)
                self._woken.set()

    async def _try_later(self, delivery: Delivery, reason: str) -> None:
        """Whatever happens here, the delivery is not tried again at once."""
        delay_s = back_off_s(delivery.tries)
        try:
            await self._record(lambda: self.outbox.retry(delivery, delay_s=delay_s, reason=reason))
        except Exception as error:  # the edge of a loop that must go on
            log.error("the outbox failed", action="outbox_failed", exc_info=error)
            await asyncio.sleep(delay_s)

    async def _try(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        platform = self.platforms.get(delivery.job.origin.platform)
        if platform is None:
            await self._record(
                lambda: self.outbox.retry(delivery, delay_s=ABSENT_S, reason="the platform is off", is_try=False)
            )
            return
        try:
            async with self._room[platform.name]:
                message_ref = await self._hand_over(platform, delivery)
        except Erased as error:
            await self._give_up(delivery, error)
            return
        except Undeliverable as error:
            await self._tell_kept(platform, delivery)
            await self._give_up(delivery, error)
            return
        except (PlatformError, TimeoutError) as error:
            await self._postpone(platform, delivery, error)
            return
        await self._record(lambda: self.outbox.sent(delivery, message_ref))
        self.events.changed(delivery.job.id)
        if delivery.kind == "placeholder" and not delivery.job.state.is_final:
            self._follow(platform, delivery.job, message_ref, group)

    async def _hand_over(self, platform: Platform, delivery: Delivery) -> str:
        """Returns the message ref once the platform confirmed. Raises: PlatformError, TimeoutError.

        What was erased meanwhile is not sent any more.
        """
        if delivery.kind == "placeholder":
            async with asyncio.timeout(CALL_S):
                return await platform.place(delivery)
        await self._stop_progress(delivery.job.id)
        await self._check_owed(delivery)
        pictures = await self._record(lambda: self._pictures(delivery.job))
        async with asyncio.timeout(CALL_S):
            if delivery.message_ref is not None:
                try:
                    return await platform.edit(delivery, pictures)
                except MessageGone:
                    log.info("placeholder is gone, sending anew", action="placeholder_gone")
                    await self._check_owed(delivery)  # it may be gone because its person deleted all of it
            return await platform.send(delivery, pictures)

    async def _check_owed(self, delivery: Delivery) -> None:
        """Raises: Erased."""
        if not await self._record(lambda: self.outbox.is_owed(delivery)):
            raise Erased("the job was erased")

    async def _postpone(self, platform: Platform, delivery: Delivery, error: PlatformError | TimeoutError) -> None:
        """A wait that the platform asks for is no try: in a busy chat there may be hundreds."""
        asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
        if asked_s is None and await self._is_over(platform, delivery):
            await self._give_up(delivery, error)
            return
        delay_s = back_off_s(delivery.tries) if asked_s is None else max(0.5, asked_s)
        log.info("delivery postponed", action="delivery_postponed", kind=delivery.kind, delay_s=round(delay_s, 1))
        reason, is_try = _detail(error), asked_s is None
        await self._record(lambda: self.outbox.retry(delivery, delay_s=delay_s, reason=reason, is_try=is_try))

    async def _is_over(self, platform: Platform, delivery: Delivery) -> bool:
        """After a day of trying a placeholder is left out; a result may still come, for a month, unless words do."""
        tries = delivery.tries + 1
        if tries < MAX_TRIES:
            return False
        return delivery.kind == "placeholder" or tries >= LAST_TRIES or await self._tell_kept(platform, delivery)

    async def _tell_kept(self, platform: Platform, delivery: Delivery) -> bool:
        """Whether the placeholder says now where the result is, for it must not be at work for ever."""
        if delivery.kind == "placeholder" or delivery.message_ref is None:
            return False
        try:
            async with asyncio.timeout(CALL_S):
                await platform.tell_kept(delivery)
        except (PlatformError, TimeoutError) as error:
            log.info("the placeholder stays as it is", action="placeholder_stays", detail=_detail(error))
            return False
        return True

    async def _give_up(self, delivery: Delivery, error: PlatformError | TimeoutError) -> None:
        log.warning("undeliverable", action="undeliverable", kind=delivery.kind, detail=_detail(error))
        await self._record(lambda: self.outbox.give_up(delivery, _detail(error)))

    async def _record(self, write: Callable[[], Awaitable[T]]) -> T:
        """Try until the database lets us: what the platform confirmed must not be posted again."""
        while True:
            try:
                return await write()
            except (StorageBusy, StorageFull) as error:
                log.error("recording has to wait", action="record_waits", code=error.code)
            await asyncio.sleep(RETRY_RECORD_S)

    async def _pictures(self, job: Job) -> list[Media]:
        pictures = []
        for picture in job.result.media if job.result else ():
            with suppress(MediaNotFound):
                pictures.append(await self.media.read(picture.id, None))
        return pictures

    # ------------------------------------------------------------ progress: best effort, latest wins

    def _follow(self, platform: Platform, job: Job, message_ref: str, group: asyncio.TaskGroup) -> None:
        lock = asyncio.Lock()
        task = group.create_task(self._show_progress(platform, job, message_ref, lock))
        self._shown[job.id] = Showing(task, lock)

    async def _show_progress(self, platform: Platform, job: Job, message_ref: str, lock: asyncio.Lock) -> None:
        with self.events.follow(job.id) as follower:
            while True:
                _, progress = await follower.next()
                if progress is not None:
                    async with lock:
                        await self._show(platform, job, message_ref, progress)

    async def _show(self, platform: Platform, job: Job, message_ref: str, progress: Progress) -> None:
        try:
            await platform.progress(job, message_ref, progress)
        except EaselError as error:
            log.debug("progress was not shown", action="progress_failed", code=error.code)
        except Exception as error:  # the edge of a loop that must go on
            log.warning("progress was not shown", action="progress_failed", exc_info=error)

    async def _stop_progress(self, job_id: str) -> None:
        """Final beats progress: none may arrive after the result, so what is on its way arrives first."""
        shown = self._shown.pop(job_id, None)
        if shown is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_S):
                    await shown.lock.acquire()
            shown.task.cancel()
            await asyncio.wait([shown.task])


def _detail(error: PlatformError | TimeoutError) -> str:
    return error.detail if isinstance(error, PlatformError) else "the platform did not answer"
