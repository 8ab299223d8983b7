"""The settings of the core: `[queue]`, `[quota]`, `[images]` and `[retention]` in the config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Bounds = Mapping[str, tuple[float | None, float | None]]
"""Inclusive bounds of settings, by key; all other numbers must be at least 0."""


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    bounds: ClassVar[Bounds] = {
        **dict.fromkeys(("max_outstanding", "max_running", "max_queued", "max_crashes"), (1, None)),
        "lease_s": (5, None),
    }

    max_outstanding: int = 50
    """Maximum number of unfinished jobs per person."""
    max_running: int = 2
    """Maximum number of concurrently running jobs per person while others wait. Where nobody does, one person may use
    all slots of a device but two."""
    max_queued: int = 100_000
    """Maximum number of queued jobs of all persons."""
    lease_s: float = 60.0
    """A running job whose lease is not renewed for this long is requeued, seconds."""
    swap_wait_s: float = 20.0
    """How long a job may wait behind jobs of a model that is already loaded, seconds."""
    max_crashes: int = 3
    """A job is dead after its process died this many times while running only this job."""
    max_interruptions: int = 10
    """A job fails after it was requeued by restarts this many times."""
    drain_s: float = 20.0
    """At shutdown, running jobs may finish within this time, seconds; the others are requeued."""


@dataclass(frozen=True, kw_only=True)
class QuotaSettings:
    daily_device_seconds: float = 600.0
    """Quota per person and UTC day, device-seconds; 0: unlimited."""
    daily_upload_mb: float = 1024.0
    """Stored uploads per person and 24 hours, MiB; 0: as much as is left for everybody else."""


@dataclass(frozen=True, kw_only=True)
class ImagesSettings:
    bounds: ClassVar[Bounds] = dict.fromkeys(
        ("max_upload_mb", "max_megapixels", "max_heic_mb", "max_heic_megapixels"), (1, 100)
    )

    max_upload_mb: int = 10
    """Maximum size of an upload, MiB."""
    max_megapixels: int = 16
    """Maximum size of an image, megapixels, from its header."""
    max_heic_mb: int = 20
    """Maximum size of an upload in HEIC, MiB, if that is more."""
    max_heic_megapixels: int = 50
    """Maximum size of an image in HEIC, megapixels; beyond `max_megapixels` it is scaled down to that."""
    max_unused_h: int = 24
    """Uploads that no job uses are deleted after this many hours."""


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    days: int = 0
    """Images older than this many days are deleted, except favourites and those in collections; 0: never."""
    max_gb: float = 0.0
    """The oldest images beyond this many GiB are deleted; 0: no limit."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    meaning: bool = True
    """Whether pictures are found by what they show: the matching model looks at each of them while the devices are
    idle. If not, what was computed from them is deleted."""
