"""What operators measure: events that are counted where they happen, and states that are read when somebody asks.

No figure names a person, a space or a prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bot.jobs import Job
from bot.ports.media import Delivery


class WorkMetrics:
    """Counts nothing by itself; an adapter does. Calls neither wait nor raise, and may come from any thread."""

    def count_accepted(self, jobs: Sequence[Job]) -> None:
        """After the commit; a repeated request counts once."""

    def count_ended(self, job: Job) -> None:
        """In whatever state: after the commit."""

    def count_requeued(self, reason: str, jobs: int = 1) -> None:
        """`reason`: the code of the error that returned them to the queue; "restart" or "lease"."""

    def observe_first_preview(self, job: Job) -> None:
        """The first preview of a job that somebody watches."""

    def count_delivery(self, delivery: Delivery, outcome: str) -> None:
        """`outcome`: "sent", "retried" (it failed), "postponed" (the platform asked for a wait, or is off) or
        "undeliverable"."""

    def count_blocked(self, reason: str) -> None:
        """A request that was refused by the rules."""

    def observe_commit(self, seconds: float, operations: int) -> None:
        """One transaction of the database's writer; `seconds` with the wait for the disk."""

    def count_storage_error(self, code: str) -> None:
        """A transaction that failed: the code of its error."""

    def count_reconnect(self, platform: str, times: int = 1) -> None:
        """A chat adapter has lost its connection, or its token was refused. `times` 0: it has reported first."""


NO_METRICS = WorkMetrics()


@dataclass(frozen=True, kw_only=True)
class PendingDeliveries:
    """Of one kind and platform. `oldest_s`: seconds since the oldest of them was enqueued."""

    count: int
    oldest_s: float


@dataclass(frozen=True, kw_only=True)
class StorageState:
    """The queue and the storage now.

    Attributes:
        oldest_queued_s: seconds since the job was accepted that has waited longest; 0: none waits.
        backlog: queued jobs by model.
        deliveries: what is still to be sent, by kind and platform.
        inbox_waiting: chat events that are stored and not handled yet.
        writer_queue: operations that wait for the database's writer.
        last_backup: when `easel db backup` was run last; None: never.
    """

    oldest_queued_s: float = 0.0
    backlog: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[tuple[str, str], PendingDeliveries] = field(default_factory=dict)
    inbox_waiting: int = 0
    writer_queue: int = 0
    database_bytes: int = 0
    media_bytes: int = 0
    free_bytes: int = 0
    last_backup: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class WebhookState:
    """The events for one webhook. `host`: where they go; None: the config has no such webhook any more.

    `undeliverable`: those that were given up, or whose job was erased. `last_problem`: of the oldest pending one.
    """

    name: str
    host: str | None = None
    sent: int = 0
    pending: int = 0
    undeliverable: int = 0
    oldest_s: float = 0.0
    last_problem: str = ""


class StorageMonitor(Protocol):
    async def read_state(self) -> StorageState: ...

    async def read_webhooks(self) -> Sequence[WebhookState]:
        """By name; those that no event was ever for are missing."""
