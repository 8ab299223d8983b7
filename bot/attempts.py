"""One claim of a job, as the dispatcher keeps it while it is worked on."""

import time
from dataclasses import dataclass

from bot.errors import JobCancelled
from bot.jobs import Job


@dataclass(eq=False)
class Attempt:
    """One claim being worked on, on the device whose offer it was claimed for.

    Attributes:
        cancelled: its person does not want it any more, or the claim is no longer ours.
        is_starting: the pool does not count it in its offers yet.
        began: monotonic time of the first step; loading does not count as use.
    """

    job: Job
    device: str
    cancelled: bool = False
    is_starting: bool = True
    began: float | None = None

    def check(self) -> None:
        """Raises: JobCancelled."""
        if self.cancelled:
            raise JobCancelled

    @property
    def used_s(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began


def runs_alone(job: Job) -> bool:
    """Whether it went back to the queue for want of a device of its own (`JobStore.requeue(alone=True)`)."""
    return job.crashes + job.failures > 0
