"""Operations: readiness, statistics, backup and database checks."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bot.errors import EaselError, NotFound
from bot.jobs import JobState
from bot.ports import (
    NO_METRICS,
    DeviceStatus,
    HealthCheck,
    JobStore,
    Maintenance,
    StorageMonitor,
    StorageState,
    WebhookSender,
    WebhookState,
    WorkMetrics,
)
from bot.ports.platform_answers import PlatformError
from bot.queue.webhook_deliveries import CALL_TIMEOUT_S, NO_ANSWER
from bot.usecases.webhook_events import MAX_NAME

READINESS_AGE_S = 1.0


@dataclass
class _LastCheck:
    check: HealthCheck | None = None
    at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class Operations:
    store: JobStore
    maintenance: Maintenance
    devices: Callable[[], Sequence[DeviceStatus]]
    monitor: StorageMonitor
    metrics: WorkMetrics = NO_METRICS
    webhooks: Mapping[str, str] = field(default_factory=dict)
    """Hosts of the configured webhooks by name."""
    webhook_sender: WebhookSender | None = None
    now: Callable[[], float] = time.monotonic
    _last: _LastCheck = field(default_factory=_LastCheck)
    _platforms: dict[str, HealthCheck] = field(default_factory=dict)

    async def check_readiness(self) -> list[HealthCheck]:
        """Whether the database responds, a worker is ready and each platform is connected.

        Strangers may ask as often as they like: the database is asked once in `READINESS_AGE_S`.
        """
        async with self._last.lock:
            if self._last.check is None or self.now() >= self._last.at + READINESS_AGE_S:
                self._last.check, self._last.at = await self._check_storage(), self.now()
            return [self._last.check, self._check_workers(), *self._platforms.values()]

    def report_platform(self, name: str, sentence: str, *, is_ok: bool) -> None:
        """What a chat adapter last found out about its connection. The server is ready without it."""
        before = self._platforms.get(name)
        if before is None:
            self.metrics.count_reconnect(name, 0)
        elif before.is_ok and not is_ok:
            self.metrics.count_reconnect(name)
        self._platforms[name] = HealthCheck(name=name, is_ok=is_ok, sentence=sentence, is_required=False)

    async def _check_storage(self) -> HealthCheck:
        try:
            counts = await self.store.count_by_state()
        except EaselError as error:
            return HealthCheck(
                name="database",
                is_ok=False,
                sentence=f"The database does not respond ({error.code}).",
            )
        return HealthCheck(
            name="database",
            is_ok=True,
            sentence="The database responds.",
            details={str(state): count for state, count in counts.items()},
        )

    def _check_workers(self) -> HealthCheck:
        states = {status.device: status.state for status in self.devices()}
        is_ok = any(state == "ready" for state in states.values())
        sentence = "A worker is ready." if is_ok else "No worker is ready yet."
        return HealthCheck(name="workers", is_ok=is_ok, sentence=sentence, details=states)

    async def count_by_state(self) -> Mapping[JobState, int]:
        return await self.store.count_by_state()

    async def read_storage_state(self) -> StorageState:
        """Of queue, outbox and storage, for monitoring."""
        return await self.monitor.read_state()

    async def list_webhooks(self) -> list[WebhookState]:
        """Those of the config, and those that events are left for, by name."""
        states = {state.name: state for state in await self.monitor.read_webhooks()}
        names = sorted({*states, *self.webhooks})
        return [replace(states.get(name, WebhookState(name=name)), host=self.webhooks.get(name)) for name in names]

    async def test_webhook(self, name: str) -> str:
        """Send it an event about no job. Returns why it was not accepted; empty: it was. Raises: NotFound."""
        if self.webhook_sender is None or not self.webhook_sender.has_webhook(name):
            raise NotFound("webhook", name[:MAX_NAME])
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self.webhook_sender.send_test(name)
        except PlatformError as error:
            return error.detail
        except TimeoutError:
            return NO_ANSWER
        return ""

    async def backup_database(self, path: Path) -> None:
        """Raises: StorageFull."""
        await self.maintenance.backup(path)

    async def check_database(self) -> list[str]:
        """Problems of the database, as sentences; empty if there are none."""
        return await self.maintenance.check()
