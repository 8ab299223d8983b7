"""How many events each webhook may be sent at a time: a receiver that is down gets one, with longer and longer waits.

Its backlog stays in the database meanwhile, where it delays nobody else. Kept in memory: after a restart each receiver
is called as if it had never failed.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_CONCURRENT_PER_WEBHOOK = 5
FAILURES_IN_A_ROW = 3
"""After so many, one event at a time is tried."""


@dataclass
class _Receiver:
    under_way: int = 0
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0

    @property
    def is_failing(self) -> bool:
        return self.failures >= FAILURES_IN_A_ROW

    def may_be_called(self, now: float) -> bool:
        most = 1 if self.is_failing else MAX_CONCURRENT_PER_WEBHOOK
        return self.under_way < most and now >= self.rests_until


@dataclass(kw_only=True)
class WebhookReceivers:
    """`now`: monotonic, seconds."""

    now: Callable[[], float] = time.monotonic
    _receivers: defaultdict[str, _Receiver] = field(default_factory=lambda: defaultdict(_Receiver))

    def closed(self) -> frozenset[str]:
        """The webhooks that nothing may be sent to now."""
        now = self.now()
        return frozenset(name for name, one in self._receivers.items() if not one.may_be_called(now))

    def next_open_s(self) -> float | None:
        """How long until the first of those that rest may be called again; None: none rests."""
        now = self.now()
        waits = (one.rests_until - now for one in self._receivers.values() if one.rests_until > now)
        return min(waits, default=None)

    def admit(self, name: str) -> bool:
        """Whether an event may be sent now. If so, `release` must follow."""
        receiver = self._receivers[name]
        if not receiver.may_be_called(self.now()):
            return False
        receiver.under_way += 1
        return True

    def release(self, name: str) -> None:
        self._receivers[name].under_way -= 1

    def note_answer(self, name: str) -> None:
        """It accepted an event, or refused one for good."""
        self._receivers[name].failures = 0

    def note_failure(self, name: str, back_off_s: Callable[[int], float], *, asked_s: float | None = None) -> None:
        """`asked_s`: the wait that it asked for."""
        receiver = self._receivers[name]
        receiver.failures += 1
        if asked_s is not None:
            self.rest(name, asked_s)
        elif receiver.is_failing:
            self.rest(name, back_off_s(receiver.failures - FAILURES_IN_A_ROW))

    def rest(self, name: str, seconds: float) -> None:
        receiver = self._receivers[name]
        receiver.rests_until = max(receiver.rests_until, self.now() + seconds)
