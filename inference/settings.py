"""The `[pool]` settings: how long a child may compute, load or be silent."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Durations are seconds.

    Attributes:
        job_timeout_s: device time one job may use; waiting and loading do not count.
        load_timeout_s: how long loading a model may take.
        silence_s: a child that says nothing for this long is killed (its heart beats every second).
        load_silence_s: the same while it starts or loads, when one long call may hold everything up.
        step_silence_s: once jobs have stepped, one of them must step again within this, or within
            `STEP_PATIENCE` times their slowest step, whichever is longer.
        cancel_grace_s: a job over its time that has not stopped by then gets its child killed.
        restart_backoff_s: wait before the first restart of a crashed child; doubles each time.
        restart_backoff_max_s: the longest such wait.
        warm_up: load the first model at start, so that the first picture is quick.
        niceness: added to the children's niceness, so that the chat stays quick.
        threads: CPU threads of each child; 0: torch's default.
        max_tasks: how many tasks one device has at once, whatever its models would take.
        max_warm: how many models one device keeps loaded.
        warm_memory_mb: how much estimated memory these may take together, MiB; 0: what the device has.
        idle_unload_s: a model that nobody used for so long is unloaded; 0: never.
    """

    job_timeout_s: float = 600.0
    load_timeout_s: float = 900.0
    silence_s: float = 30.0
    load_silence_s: float = 120.0
    step_silence_s: float = 30.0
    cancel_grace_s: float = 15.0
    restart_backoff_s: float = 0.5
    restart_backoff_max_s: float = 60.0
    warm_up: bool = True
    niceness: int = 10
    threads: int = 0
    max_tasks: int = 16
    max_warm: int = 4
    warm_memory_mb: int = 0
    idle_unload_s: float = 0.0


STEP_PATIENCE = 10
"""A step may take this many times the slowest one before it: decoding and a busy machine do."""
