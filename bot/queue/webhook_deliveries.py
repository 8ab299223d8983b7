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
from bot.runtime.fair_slots import FairSlots

log = structlog.get_logger()

MAX_CONCURRENT = 20
MAX_CONCURRENT_PER_WEBHOOK = 5
CALL_TIMEOUT_S = 15.0
"""Limit of one request as a whole: a receiver may send its answer byte by byte."""
UNKNOWN_RETRY_S = 600.0
"""How long events wait for a webhook that the config no longer has."""
KEPT = timedelta(days=31)
"""How long an event is tried."""

Store = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Writes to the storage, again while it is busy."""


@dataclass(kw_only=True)
class WebhookDeliveries:
    """`sender` None: no webhooks are configured."""

    outbox: Outbox
    sender: WebhookSender | None = None
    _slots: FairSlots = field(default_factory=lambda: FairSlots(MAX_CONCURRENT, per_owner=MAX_CONCURRENT_PER_WEBHOOK))

    async def attempt(self, delivery: Delivery, *, back_off_s: float, store: Store) -> None:
        if self.sender is None or not self.sender.has_webhook(delivery.target):
            reason = "the config has no such webhook"
            await self._postpone(delivery, reason, UNKNOWN_RETRY_S, store, is_try=False)
            return
        async with self._slots.hold(delivery.target):
            if not await store(lambda: self.outbox.is_pending(delivery)):
                return  # its job was erased
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self.sender.send_event(delivery)
            except JobNotFound:
                await store(lambda: self.outbox.give_up(delivery, "the job was erased"))
                return
            except Undeliverable as refused:
                await self._give_up(delivery, refused.detail, store)
                return
            except (PlatformError, TimeoutError) as error:
                reason = error.detail if isinstance(error, PlatformError) else "no answer in time"
                asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
                await self._postpone(delivery, reason, back_off_s if asked_s is None else asked_s, store)
                return
        await store(lambda: self.outbox.mark_sent(delivery, ""))
        log.info("a webhook was called", action="webhook_sent", webhook=delivery.target, attempt=delivery.tries + 1)

    async def _postpone(
        self, delivery: Delivery, reason: str, delay_s: float, store: Store, *, is_try: bool = True
    ) -> None:
        ended_at = delivery.job.finished_at
        if ended_at is not None and datetime.now(UTC) - ended_at > KEPT:
            await self._give_up(delivery, reason, store)
            return
        details = {"webhook": delivery.target, "reason": reason, "delay_s": round(delay_s, 1)}
        log.info("a webhook is called again later", action="webhook_postponed", **details)
        await store(lambda: self.outbox.schedule_retry(delivery, delay_s=delay_s, reason=reason, is_try=is_try))

    async def _give_up(self, delivery: Delivery, reason: str, store: Store) -> None:
        log.warning("a webhook was not called", action="webhook_given_up", webhook=delivery.target, reason=reason)
        await store(lambda: self.outbox.give_up(delivery, reason))
