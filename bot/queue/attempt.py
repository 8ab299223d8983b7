"""One claim of a job, as the dispatcher keeps it while it is worked on."""

import secrets
from dataclasses import dataclass
from hashlib import blake2b

from bot.errors import JobCancelled
from bot.jobs import Job


@dataclass(eq=False)
class Attempt:
    """One claim being worked on, on the device whose offer it was claimed for.

    Attributes:
        cancelled: its person does not want it any more, or the claim is no longer ours.
        is_starting: the pool does not count it in its offers yet.
        used_s: device-seconds that it is known to have used; loading does not count.
    """

    job: Job
    device: str
    cancelled: bool = False
    is_starting: bool = True
    used_s: float = 0.0

    def check(self) -> None:
        """Raises: JobCancelled."""
        if self.cancelled:
            raise JobCancelled


def runs_alone(job: Job) -> bool:
    """Whether it went back to the queue for want of a device of its own (`JobStore.requeue(alone=True)`)."""
    return job.crashes + job.failures > 0


class Shares:
    """Keys by which devices tell people apart without knowing them; other ones after each start."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def of(self, job: Job) -> str:
        """16 hex digits for the job's person in its space."""
        who = f"{job.origin.space_id}\0{job.owner}".encode()
        return blake2b(who, key=self._secret, digest_size=8).hexdigest()
