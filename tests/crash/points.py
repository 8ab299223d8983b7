"""Named moments in the life of a victim; at one of them, after so many times, its whole process group is killed."""

import os
import signal
from collections.abc import Callable
from typing import Any

from storage import migration
from storage.jobs import SqlJobStore
from storage.media import SqlMediaStore
from storage.outbox import SqlOutbox

OFTEN = ("accept", "claim", "render", "write", "sent", "place", "edit")
RARE = ("requeue", "request_cancel", "end", "retry", "send")
AT_START = ("upgrade", "recover")


class Points:
    """`point`: such as "after render"; empty: live on."""

    def __init__(self, point: str, times: int) -> None:
        self._point = point
        self._times = times

    def reach(self, point: str) -> None:
        if point == self._point:
            self._times -= 1
            if self._times <= 0:
                os.killpg(os.getpgrp(), signal.SIGKILL)

    def set(self) -> None:
        """Lay the points around every change that storage makes."""
        for name in ("accept", "claim", "render", "end", "requeue", "request_cancel", "recover"):
            self._surround(SqlJobStore, name)
        for name in ("sent", "retry"):
            self._surround(SqlOutbox, name)
        self._surround(SqlMediaStore, "write")
        self._surround_upgrade()

    def _surround(self, owner: type, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        async def surrounded(*args: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            outcome = await inner(*args, **named)
            self.reach(f"after {name}")
            return outcome

        setattr(owner, name, surrounded)

    def _surround_upgrade(self) -> None:
        """After it means before its commit."""
        inner = migration.upgrade

        def surrounded(*args: Any, **named: Any) -> None:
            self.reach("before upgrade")
            inner(*args, **named)
            self.reach("after upgrade")

        migration.upgrade = surrounded
