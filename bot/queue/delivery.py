"""The outbox worker: delivers placeholders, progress and results, with fallbacks and back-off.

Only this module sends results. A delivery is retried until the platform confirms or permanently rejects it; edits can
be repeated, and new messages carry a nonce that is stable across restarts.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from bot.commands.best_of import best_of
from bot.errors import MediaNotFound, StorageBusy, StorageFull
from bot.jobs import Job, JobState, Media
from bot.ports import WEBHOOK, Delivery, MediaStore, Outbox, Platform, WebhookSender
from bot.ports.platform_answers import MessageGone, NotPermitted, PlatformError, UnclearAnswer, Undeliverable
from bot.queue.grid_message import GridMessage, GridMessages
from bot.queue.message_progress import MessageProgress
from bot.queue.progress import ProgressBus
from bot.queue.retraction import retract_messages
from bot.queue.webhook_deliveries import WebhookDeliveries
from bot.runtime.fair_slots import FairSlots

log = structlog.get_logger()
T = TypeVar("T")

IDLE_CHECK_S = 10.0
OVERDUE_CHECK_S = 1.0
STORAGE_RETRY_S = 2.0
MAX_CONCURRENT = 20
"""Maximum number of concurrent deliveries per platform, which also limits the images in memory."""
MAX_CONCURRENT_PER_CHAT = 5
"""A chat that does not respond leaves slots to the others."""
CALL_TIMEOUT_S = 120.0
"""A call without an answer after this time counts as unconfirmed."""
OFFLINE_RETRY_S = 600.0
"""How long deliveries wait for a platform that is not running."""
MAX_TRIES = 600
"""At two and a half minutes each on average, one day of a platform outage."""
MAX_RESULT_TRIES = MAX_TRIES + 30 * 24 * 4
"""Another month, at a quarter of an hour each on average."""
MAX_SHEET_TRIES = 6
"""How often a grid waits for its sheets; then its message has the buttons of its pictures alone."""
MAX_REFUSED_TRIES = 130
"""A month of `refused_back_off_s`."""


def back_off_s(tries: int) -> float:
    """Full jitter up to min(300, 5 * 2^tries) seconds; after a day, up to half an hour.

    Source: AWS, "Exponential backoff and jitter".
    """
    longest = 1800.0 if tries >= MAX_TRIES else min(300.0, 5.0 * 2 ** min(tries, 10))
    return random.uniform(0.5, longest)


def refused_back_off_s(tries: int) -> float:
    """Between two tries where the bot may not write: from a minute up to six hours."""
    return min(6 * 3600.0, 60.0 * 2 ** min(tries, 10)) * random.uniform(0.8, 1.2)


class JobErased(Undeliverable):
    """The job was erased; there is nothing left to deliver."""


@dataclass(kw_only=True)
class Deliverer:
    outbox: Outbox
    media: MediaStore
    progress_bus: ProgressBus
    platforms: Mapping[str, Platform]
    grids: GridMessages | None = None
    webhook_sender: WebhookSender | None = None
    on_delivered: Callable[[Job], None] = lambda _job: None

    _busy: set[str] = field(default_factory=set)
    _wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    _progress: MessageProgress = field(init=False)
    _webhooks: WebhookDeliveries = field(init=False)
    _slots: defaultdict[str, FairSlots] = field(
        default_factory=lambda: defaultdict(lambda: FairSlots(MAX_CONCURRENT, per_owner=MAX_CONCURRENT_PER_CHAT))
    )

    def __post_init__(self) -> None:
        self._progress = MessageProgress(progress_bus=self.progress_bus, grids=self.grids)
        self._webhooks = WebhookDeliveries(outbox=self.outbox, sender=self.webhook_sender)

    def connect(self, adapters: Iterable[object]) -> None:
        """Deliver through the adapters that are chat platforms."""
        self.platforms = {**self.platforms, **{one.name: one for one in adapters if isinstance(one, Platform)}}

    def connect_grids(self, grids: GridMessages) -> None:
        self.grids = self._progress.grids = grids

    def wake(self) -> None:
        self._wakeup.set()

    async def run_forever(self) -> None:
        """Run until cancelled. Unconfirmed deliveries stay pending and are sent after the next start."""
        async with asyncio.TaskGroup() as group:
            await self._resume_progress(group)
            while True:
                self._wakeup.clear()
                try:
                    if await self._start_due(group):
                        continue
                    idle_s = await self._idle_timeout_s()
                except Exception as error:  # the loop must not end
                    log.warning("outbox loop failed", action="outbox_failed", exc_info=error)
                    idle_s = STORAGE_RETRY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):  # in Python 3.11, wait_for can swallow a cancel
                        await self._wakeup.wait()

    async def _resume_progress(self, group: asyncio.TaskGroup) -> None:
        """Resume progress in placeholders that were sent before the last restart."""
        try:
            for delivery in await self.outbox.watched():
                platform = self.platforms.get(delivery.job.origin.platform)
                if platform is not None and delivery.message_ref is not None:
                    self._progress.start(platform, await self._shown_by(delivery.job), delivery.message_ref, group)
        except Exception as error:  # progress is best effort
            log.warning("progress not resumed", action="follow_failed", exc_info=error)

    async def _start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start each due delivery whose job has no running one: a placeholder precedes its result.

        Jobs with a running delivery are excluded: one that ends during the query could still be returned as due.
        """
        started = False
        due = await self.outbox.due_deliveries(
            excluded_jobs=frozenset(self._busy), excluded_webhooks=self._webhooks.receivers.closed()
        )
        for delivery in due:
            if delivery.job.id not in self._busy and self._may_start(delivery):
                self._busy.add(delivery.job.id)
                group.create_task(self._deliver(delivery, group))
                started = True
        return started

    def _may_start(self, delivery: Delivery) -> bool:
        return delivery.kind != WEBHOOK or self._webhooks.receivers.admit(delivery.target)

    async def _idle_timeout_s(self) -> float:
        receivers = self._webhooks.receivers
        due = await self.outbox.next_due_s(excluded_webhooks=receivers.closed())
        if due == 0:
            return OVERDUE_CHECK_S
        waits = [one for one in (due, receivers.next_open_s()) if one is not None]
        return min([IDLE_CHECK_S, *(max(0.05, one) for one in waits)])

    async def _deliver(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        job = delivery.job
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                await self._attempt(delivery, group)
            except Exception as error:  # the loop must not end
                log.error("delivery failed", action="delivery_failed", kind=delivery.kind, exc_info=error)
                await self._retry_later(delivery, type(error).__name__)
            finally:
                self._busy.discard(job.id)
                self._wakeup.set()

    async def _retry_later(self, delivery: Delivery, reason: str) -> None:
        """Schedule a retry; in any case it is not retried immediately."""
        delay_s = back_off_s(delivery.tries)
        try:
            await self._retry_until_stored(lambda: self.outbox.schedule_retry(delivery, delay_s=delay_s, reason=reason))
        except Exception as error:  # the loop must not end
            log.error("retry not scheduled", action="outbox_failed", exc_info=error)
            await asyncio.sleep(delay_s)

    async def _attempt(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        if delivery.kind == WEBHOOK:
            await self._webhooks.attempt(delivery, back_off_s=back_off_s, store=self._retry_until_stored)
            return
        platform = self.platforms.get(delivery.platform)
        if platform is None:
            await self._retry_until_stored(
                lambda: self.outbox.schedule_retry(
                    delivery, delay_s=OFFLINE_RETRY_S, reason="the platform is off", is_try=False
                )
            )
            return
        if delivery.kind == "retract":
            await self._retract(platform, delivery)
            return
        delivery = replace(delivery, job=await self._shown_by(delivery.job))
        try:
            async with self._slots[platform.name].hold(delivery.chat_id):
                message_ref = await self._send(platform, delivery)
        except JobErased as error:
            await self._give_up(delivery, error)
            return
        except Undeliverable as error:
            await self._end_undeliverable(platform, delivery, error)
            return
        except NotPermitted as error:
            await self._wait_for_permission(platform, delivery, error)
            return
        except (PlatformError, TimeoutError) as error:
            await self._postpone(platform, delivery, error)
            return
        await self._retry_until_stored(lambda: self.outbox.mark_sent(delivery, message_ref))
        self.progress_bus.publish_change(delivery.job.id)
        if delivery.kind == "result" and not delivery.is_update:
            self.on_delivered(replace(delivery.job, state=JobState.DELIVERED))
        if delivery.kind == "placeholder" and not delivery.job.state.is_final:
            self._progress.start(platform, delivery.job, message_ref, group)

    async def _shown_by(self, job: Job) -> Job:
        """The job as its message shows it: the first of a grid's with the state of the grid."""
        shown = await self.grids.find(job) if self.grids is not None and job.batch is not None else None
        return job if shown is None else shown

    async def _retract(self, platform: Platform, delivery: Delivery) -> None:
        """Messages that cannot be deleted for a month are given up: their references are not kept for ever."""
        await self._progress.stop(delivery.job)
        async with self._slots[platform.name].hold(delivery.chat_id):
            outcome = await retract_messages(platform, delivery, timeout_s=CALL_TIMEOUT_S)
        error = outcome.error
        is_refused = isinstance(error, NotPermitted)
        asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
        is_over = asked_s is None and delivery.tries + 1 >= (MAX_REFUSED_TRIES if is_refused else MAX_RESULT_TRIES)
        if error is not None and is_over:
            log.warning("messages stay", action="message_stays", detail=_detail(error))
        settled = delivery.refs if error is None or is_over else outcome.settled
        await self._retry_until_stored(lambda: self.outbox.settle_retraction(delivery, settled))
        if error is not None and not is_over:
            own_back_off_s = refused_back_off_s if is_refused else back_off_s
            delay_s = own_back_off_s(delivery.tries) if asked_s is None else max(0.5, asked_s)
            await self._schedule_retry(delivery, error, delay_s, is_try=asked_s is None)

    async def _send(self, platform: Platform, delivery: Delivery) -> str:
        """Send the message, unless its job was erased meanwhile; return the confirmed message ref.

        Raises: PlatformError, TimeoutError.
        """
        if delivery.kind == "placeholder":
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await platform.post_placeholder(delivery)
        await self._progress.stop(delivery.job)
        await self._raise_if_erased(delivery)
        if isinstance(delivery.job, GridMessage) and delivery.job.lacks_sheets and delivery.tries < MAX_SHEET_TRIES:
            raise PlatformError("the sheets are not composed yet")
        pictures = await self._retry_until_stored(lambda: self._read_images(delivery.job))
        async with asyncio.timeout(CALL_TIMEOUT_S):
            if delivery.message_ref is not None:
                try:
                    return await platform.edit_result(delivery, pictures)
                except MessageGone:
                    if delivery.is_update:  # it shows nothing any more
                        return delivery.message_ref
                    log.info("placeholder is gone, sending a new message", action="placeholder_gone")
                    await self._raise_if_erased(delivery)  # it may be gone because its owner erased the job
            return await platform.send_result(delivery, pictures)

    async def _raise_if_erased(self, delivery: Delivery) -> None:
        """Raises: Erased."""
        if not await self._retry_until_stored(lambda: self.outbox.is_pending(delivery)):
            raise JobErased("the job was erased")

    async def _postpone(self, platform: Platform, delivery: Delivery, error: PlatformError | TimeoutError) -> None:
        """Schedule a retry. A wait that the platform asked for does not count as a try: busy chats have hundreds."""
        requested_s = error.retry_after_s if isinstance(error, PlatformError) else None
        if requested_s is None and await self._should_give_up(platform, delivery, error):
            await self._give_up(delivery, error)
            return
        delay_s = back_off_s(delivery.tries) if requested_s is None else max(0.5, requested_s)
        await self._schedule_retry(delivery, error, delay_s, is_try=requested_s is None)

    async def _schedule_retry(
        self, delivery: Delivery, error: PlatformError | TimeoutError, delay_s: float, *, is_try: bool = True
    ) -> None:
        log.info("delivery postponed", action="delivery_postponed", kind=delivery.kind, delay_s=round(delay_s, 1))
        await self._retry_until_stored(
            lambda: self.outbox.schedule_retry(delivery, delay_s=delay_s, reason=_detail(error), is_try=is_try)
        )

    async def _wait_for_permission(self, platform: Platform, delivery: Delivery, error: NotPermitted) -> None:
        """Retry calmly while the bot may not write there, unless the placeholder can say where the result is.

        The result needs no placeholder: one that may not be posted is given up.
        """
        is_over = delivery.kind == "placeholder" or delivery.tries + 1 >= MAX_REFUSED_TRIES
        if is_over or await self._notify_undeliverable(platform, delivery):
            await self._give_up(delivery, error)
            return
        await self._schedule_retry(delivery, error, refused_back_off_s(delivery.tries))

    async def _should_give_up(
        self, platform: Platform, delivery: Delivery, error: PlatformError | TimeoutError
    ) -> bool:
        """A placeholder is given up after a day; a result after a month, or once the placeholder says where it is.

        After an unclear answer, when the platform's fallbacks were used as well.
        """
        tries = delivery.tries + 1
        if tries < (error.patience + 1 if isinstance(error, UnclearAnswer) else MAX_TRIES):
            return False
        return (
            delivery.kind == "placeholder"
            or tries >= MAX_RESULT_TRIES
            or await self._notify_undeliverable(platform, delivery)
        )

    async def _end_undeliverable(self, platform: Platform, delivery: Delivery, error: Undeliverable) -> None:
        """Give it up once the placeholder says where the result is, unless the platform rejects that as well."""
        failure = await self._find_notify_failure(platform, delivery)
        if failure is None or isinstance(failure, Undeliverable | MessageGone) or delivery.tries + 1 >= MAX_TRIES:
            await self._give_up(delivery, error)
            return
        requested_s = failure.retry_after_s if isinstance(failure, PlatformError) else None
        own_back_off_s = refused_back_off_s if isinstance(failure, NotPermitted) else back_off_s
        delay_s = requested_s or own_back_off_s(delivery.tries)
        await self._schedule_retry(delivery, failure, delay_s, is_try=requested_s is None)

    async def _notify_undeliverable(self, platform: Platform, delivery: Delivery) -> bool:
        """Let the placeholder say where the result is stored; return whether it does."""
        return _has_placeholder(delivery) and await self._find_notify_failure(platform, delivery) is None

    async def _find_notify_failure(self, platform: Platform, delivery: Delivery) -> PlatformError | TimeoutError | None:
        """None: the placeholder says where the result is stored, or there is none."""
        if not _has_placeholder(delivery):
            return None
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await platform.notify_undeliverable(delivery)
        except (PlatformError, TimeoutError) as error:
            log.info("placeholder not updated", action="placeholder_stays", detail=_detail(error))
            return error
        return None

    async def _give_up(self, delivery: Delivery, error: PlatformError | TimeoutError) -> None:
        log.warning("undeliverable", action="undeliverable", kind=delivery.kind, detail=_detail(error))
        await self._retry_until_stored(lambda: self.outbox.give_up(delivery, _detail(error)))

    async def _retry_until_stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Retry while the database is busy: a confirmed message must not be posted again."""
        while True:
            try:
                return await write()
            except (StorageBusy, StorageFull) as error:
                log.error("storing the delivery is delayed", action="record_waits", code=error.code)
            await asyncio.sleep(STORAGE_RETRY_S)

    async def _read_images(self, job: Job) -> list[Media]:
        """Those that its message shows: of pictures that were compared the best, the others by their buttons."""
        if isinstance(job, GridMessage):
            return await self.grids.read_sheets(job) if self.grids is not None else []
        pictures = []
        made = job.result.media if job.result else ()
        for picture in made[:1] if best_of(job.options) else made:
            with suppress(MediaNotFound):
                pictures.append(await self.media.read_media(picture.id, None))
        return pictures


def _has_placeholder(delivery: Delivery) -> bool:
    return delivery.kind != "placeholder" and delivery.message_ref is not None


def _detail(error: PlatformError | TimeoutError) -> str:
    return error.detail if isinstance(error, PlatformError) else "the platform did not answer"
