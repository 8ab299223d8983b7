"""One claim of a job while the dispatcher works on it."""

import secrets
from dataclasses import dataclass
from hashlib import blake2b

from bot.errors import JobCancelled
from bot.jobs import Job
from bot.ports import Progress


@dataclass(eq=False)
class Attempt:
    """One claim, for the device whose offer it was made for.

    Attributes:
        is_cancelled: its cancellation was requested, or the claim was lost.
        is_starting: the pool does not count it in its offers yet.
        used_s: device-seconds used so far, without loading; `past_s`: those of its tasks that have ended.
        task_id: the task that it runs now: the job's, or that of one of its parts.
        main_progress: the last progress of the main task; None: it has made none yet.
        has_preview: a preview was shown.
    """

    job: Job
    device: str
    is_cancelled: bool = False
    is_starting: bool = True
    used_s: float = 0.0
    past_s: float = 0.0
    task_id: str = ""
    main_progress: Progress | None = None
    has_preview: bool = False

    def raise_if_cancelled(self) -> None:
        """Raises: JobCancelled."""
        if self.is_cancelled:
            raise JobCancelled


def needs_exclusive_device(job: Job) -> bool:
    """Whether it was requeued for an exclusive device (`JobStore.requeue_job(exclusive=True)`)."""
    return job.crashes + job.failures > 0


class FairnessKeys:
    """Keyed hashes that let devices tell people apart without identifying them; they change at each start."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def key_for(self, job: Job) -> str:
        """16 hex digits for the job's owner in its space."""
        owner = f"{job.origin.space_id}\0{job.owner}".encode()
        return blake2b(owner, key=self._secret, digest_size=8).hexdigest()
