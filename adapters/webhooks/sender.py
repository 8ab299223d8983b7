"""Posts events to webhooks, signed: `bot.ports.WebhookSender`.

The body is that of `GET /jobs/{id}`. Redirects are not followed, and of an answer only its status counts.
"""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import httpx2

from adapters.webhooks.checked_transport import CheckedTransport
from adapters.webhooks.settings import WebhookSettings
from bot.jobs import Job
from bot.ports import Delivery
from bot.ports.platform_answers import PlatformError, Undeliverable, bounded_wait_s
from bot.usecases import Ticket

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 10.0
"""For each part of a request; `bot.queue.webhook_deliveries` limits the whole."""
MAX_ANSWER_BYTES = 4096
"""More of an answer is not read."""
TEST_EVENT = "webhook.test"

ReadTicket = Callable[[str], Awaitable[Ticket]]
Transport = Callable[[WebhookSettings], httpx2.AsyncBaseTransport]


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `X-Easel-Signature`."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def event_of(job: Job) -> str:
    """`job.delivered`, `job.failed`, `job.cancelled` or `job.dead`."""
    return f"job.{job.state.value}"


@dataclass(frozen=True)
class _Event:
    """Its name, its id, and which attempt this is."""

    name: str
    id: str
    attempt: int = 1


@dataclass(kw_only=True)
class HttpWebhookSender:
    """`read_ticket`: a job as its owner sees it, by id. `to_body`: as `GET /jobs/{id}` shows it."""

    webhooks: Mapping[str, WebhookSettings]
    read_ticket: ReadTicket
    to_body: Callable[[Ticket], dict[str, Any]]
    version: str
    transport: Transport = field(default=lambda one: CheckedTransport(allow_private=one.allow_private))
    now: Callable[[], float] = time.time

    def has_webhook(self, name: str) -> bool:
        return name in self.webhooks

    async def send_event(self, delivery: Delivery) -> None:
        """Raises: JobNotFound, Undeliverable, PlatformError."""
        ticket = await self.read_ticket(delivery.job.id)
        event = _Event(event_of(ticket.job), f"{ticket.job.id}-{delivery.target}", delivery.tries + 1)
        await self._post(self.webhooks[delivery.target], event, self.to_body(ticket))

    async def send_test(self, name: str) -> None:
        """Raises: Undeliverable, PlatformError."""
        event = _Event(TEST_EVENT, f"{uuid4().hex}-{name}")
        await self._post(self.webhooks[name], event, {"id": event.id, "webhook": name})

    async def _post(self, webhook: WebhookSettings, event: _Event, content: Mapping[str, Any]) -> None:
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        headers = self._headers(webhook, event, body)
        try:
            async with self._posting(webhook, body, headers) as answer:
                await _discard(answer)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise PlatformError(_reason(error)) from error
        _check(answer)

    def _headers(self, webhook: WebhookSettings, event: _Event, body: bytes) -> dict[str, str]:
        timestamp = str(int(self.now()))
        return {
            "Content-Type": "application/json",
            "User-Agent": f"Easel/{self.version}",
            "X-Easel-Event": event.name,
            "X-Easel-Event-Id": event.id,
            "X-Easel-Attempt": str(event.attempt),
            "X-Easel-Timestamp": timestamp,
            "X-Easel-Signature": sign(webhook.secret, timestamp, body),
        }

    @asynccontextmanager
    async def _posting(
        self, webhook: WebhookSettings, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        """A client of its own for each event: no cookies, proxies or connections are kept from another one."""
        timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        client = httpx2.AsyncClient(
            transport=self.transport(webhook), trust_env=False, follow_redirects=False, timeout=timeout
        )
        async with client, client.stream("POST", webhook.url, content=body, headers=headers) as answer:
            yield answer


async def _discard(answer: httpx2.Response) -> None:
    """Read a little, for servers that expect it; what was compressed stays so."""
    read = 0
    async for chunk in answer.aiter_raw(MAX_ANSWER_BYTES):
        read += len(chunk)
        if read >= MAX_ANSWER_BYTES:
            return


def _check(answer: httpx2.Response) -> None:
    """Raises: Undeliverable, PlatformError."""
    if answer.is_success:
        return
    reason = f"HTTP {answer.status_code}"
    if answer.status_code == httpx2.codes.GONE:
        raise Undeliverable(reason)
    raise PlatformError(reason, retry_after_s=_asked_wait_s(answer.headers.get("retry-after")))


def _asked_wait_s(header: str | None) -> float | None:
    """`Retry-After` in seconds, or as a date; None: our own back-off applies."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return bounded_wait_s(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return bounded_wait_s((until - datetime.now(UTC)).total_seconds())


def _reason(error: Exception) -> str:
    """Without the address, whose path may be secret."""
    texts = {"AddressRefused": "its address is not allowed", "ConnectError": "no connection"}
    name = type(error).__name__
    return texts.get(name, f"no answer ({name})")
