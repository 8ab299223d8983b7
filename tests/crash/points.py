"""Named points in a server's execution; at one of them, after a number of times, its process group is killed."""

import os
import signal
from collections.abc import Callable
from typing import Any

from storage import migration
from storage.jobs import SqlJobStore
from storage.media import SqlMediaStore
from storage.outbox import SqlOutbox

OFTEN = ("accept_jobs", "claim_job", "save_result", "write_file", "mark_sent", "place", "edit")
RARE = ("requeue_job", "request_cancel", "end_job", "schedule_retry", "send")
AT_START = ("upgrade", "requeue_interrupted")


class Points:
    """`point`: such as "after save_result"; empty: never."""

    def __init__(self, point: str, times: int) -> None:
        self._point = point
        self._times = times

    def reach(self, point: str) -> None:
        if point == self._point:
            self._times -= 1
            if self._times <= 0:
                os.killpg(os.getpgrp(), signal.SIGKILL)

    def set(self) -> None:
        """Add points around every change that the storage makes."""
        for name in (
            *("accept_jobs", "claim_job", "save_result", "end_job", "requeue_job"),
            *("request_cancel", "requeue_interrupted"),
        ):
            self._surround(SqlJobStore, name)
        for name in ("mark_sent", "schedule_retry"):
            self._surround(SqlOutbox, name)
        self._surround(SqlMediaStore, "write_file")
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
        inner = migration.run_migrations

        def surrounded(*args: Any, **named: Any) -> None:
            self.reach("before upgrade")
            inner(*args, **named)
            self.reach("after upgrade")

        migration.run_migrations = surrounded
