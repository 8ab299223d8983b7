"""The settings of the core: queue, quota and pictures, as `[queue]`, `[quota]` and `[images]` in the config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Bounds = Mapping[str, tuple[float | None, float | None]]
"""Inclusive bounds of settings, by key; every other number must be at least 0."""


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    bounds: ClassVar[Bounds] = {
        **dict.fromkeys(("max_outstanding", "max_running", "max_queued", "max_crashes"), (1, None)),
        "lease_s": (5, None),
    }

    max_outstanding: int = 50
    """Unfinished jobs one person may have."""
    max_running: int = 2
    """Jobs of one person that may run at once."""
    max_queued: int = 100_000
    """Queued jobs in the whole house."""
    lease_s: float = 60.0
    """A running job whose claim is not renewed for this long goes back to the queue."""
    swap_wait_s: float = 20.0
    """How long a job may wait behind jobs of an already loaded model, seconds."""
    max_crashes: int = 3
    """A job whose own process died this often while it ran alone is dead."""
    max_interruptions: int = 10
    """A job that restarts sent back this often fails."""
    drain_s: float = 20.0
    """At a stop, running jobs may finish for this long; the rest go back to the queue."""


@dataclass(frozen=True, kw_only=True)
class QuotaSettings:
    daily_device_seconds: float = 600.0
    """One person's allowance per UTC day, device-seconds; 0: unlimited."""


@dataclass(frozen=True, kw_only=True)
class ImagesSettings:
    bounds: ClassVar[Bounds] = dict.fromkeys(("max_upload_mb", "max_megapixels"), (1, 100))

    max_upload_mb: int = 10
    """Largest upload, MiB."""
    max_megapixels: int = 16
    """Largest picture, megapixels, from its header."""
    max_unused_h: int = 24
    """Uploads that no job uses go after this many hours."""


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    days: int = 0
    """Pictures older than this many days go; 0: kept for ever."""
    max_gb: float = 0.0
    """Oldest pictures go beyond this many GiB; 0: no limit."""
