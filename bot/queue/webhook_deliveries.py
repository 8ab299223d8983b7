"""Events for webhooks, from the outbox: sent, retried with back-off, and given up after a month.

The outbox row is written in the transaction that ends the job, so no event is lost. One whose confirmation was lost is
sent again, with the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from bot.errors import JobNotFound
from bot.ports import Delivery, Outbox, WebhookSender
from bot.ports.platform_answers import PlatformError, Undeliverable
from bot.queue.webhook_receivers import MAX_CONCURRENT_PER_WEBHOOK, WebhookReceivers
from bot.runtime.fair_slots import FairSlots

log = structlog.get_logger()

MAX_CONCURRENT = 20
CALL_TIMEOUT_S = 15.0
"""Limit of one request as a whole: a receiver may send its answer byte by byte."""
NO_ANSWER = "no answer in time"
UNKNOWN_RETRY_S = 600.0
"""How long events wait for a webhook that the config no longer has."""
KEPT = timedelta(days=31)
"""How long an event is tried."""

BackOff = Callable[[int], float]
"""Seconds to wait after so many failures."""
Store = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Writes to the storage, again while it is busy."""


@dataclass(kw_only=True)
class WebhookDeliveries:
    """`sender` None: no webhooks are configured."""

    outbox: Outbox
    sender: WebhookSender | None = None
    receivers: WebhookReceivers = field(default_factory=WebhookReceivers)
    _slots: FairSlots = field(default_factory=lambda: FairSlots(MAX_CONCURRENT, per_owner=MAX_CONCURRENT_PER_WEBHOOK))

    async def attempt(self, delivery: Delivery, *, back_off_s: BackOff, store: Store) -> None:
        """Of an event that `receivers` has admitted."""
        try:
            async with self._slots.hold(delivery.target):
                await self._attempt(delivery, back_off_s, store)
        except Exception:
            self.receivers.note_failure(delivery.target, back_off_s)
            raise
        finally:
            self.receivers.release(delivery.target)

    async def _attempt(self, delivery: Delivery, back_off_s: BackOff, store: Store) -> None:
        if self.sender is None or not self.sender.has_webhook(delivery.target):
            self.receivers.rest(delivery.target, UNKNOWN_RETRY_S)
            reason = "the config has no such webhook"
            await self._postpone(delivery, reason, UNKNOWN_RETRY_S, store, is_try=False)
            return
        if not await store(lambda: self.outbox.is_pending(delivery)):
            return  # its job was erased
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self.sender.send_event(delivery)
        except JobNotFound:
            await store(lambda: self.outbox.give_up(delivery, "the job was erased"))
        except Undeliverable as refused:
            self.receivers.note_answer(delivery.target)
            await self._give_up(delivery, refused.detail, store)
        except (PlatformError, TimeoutError) as error:
            reason = error.detail if isinstance(error, PlatformError) else NO_ANSWER
            asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
            self.receivers.note_failure(delivery.target, back_off_s, asked_s=asked_s)
            await self._postpone(delivery, reason, back_off_s(delivery.tries) if asked_s is None else asked_s, store)
        else:
            self.receivers.note_answer(delivery.target)
            await store(lambda: self.outbox.mark_sent(delivery, ""))
            log.info("a webhook was called", action="webhook_sent", webhook=delivery.target, attempt=delivery.tries + 1)

    async def _postpone(
        self, delivery: Delivery, reason: str, delay_s: float, store: Store, *, is_try: bool = True
    ) -> None:
        oldest_kept = datetime.now(UTC) - KEPT
        ended_at = delivery.job.finished_at
        if ended_at is not None and ended_at < oldest_kept:
            await self._give_up(delivery, reason, store)
            await store(lambda: self.outbox.give_up_events(delivery, before=oldest_kept, reason=reason))
            return
        details = {"webhook": delivery.target, "reason": reason, "delay_s": round(delay_s, 1)}
        log.info("a webhook is called again later", action="webhook_postponed", **details)
        await store(lambda: self.outbox.schedule_retry(delivery, delay_s=delay_s, reason=reason, is_try=is_try))

    async def _give_up(self, delivery: Delivery, reason: str, store: Store) -> None:
        log.warning("a webhook was not called", action="webhook_given_up", webhook=delivery.target, reason=reason)
        await store(lambda: self.outbox.give_up(delivery, reason))
