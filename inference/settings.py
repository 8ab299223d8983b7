"""The `[pool]` settings: time limits, restarts and capacity of the worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Durations are in seconds.

    Attributes:
        job_timeout_s: device time one job may use, without waiting and loading.
        load_timeout_s: time that loading a model may take.
        heartbeat_timeout_s: a worker that sends nothing for this long is killed; it sends a heartbeat every second.
        load_heartbeat_timeout_s: the same while it starts or loads a model, when one long call may block everything.
        step_timeout_s: once jobs have stepped, one of them must step again within this time, or within
            `SLOW_STEP_FACTOR` times their slowest step, whichever is longer.
        cancel_grace_s: time that a job over its limit has to stop before its worker is killed.
        restart_backoff_s: delay before a crashed worker is restarted; doubles each time.
        restart_backoff_max_s: the upper limit of that delay.
        warm_up: load the first model at startup, which makes the first image quick.
        nice: added to the nice value of the workers, which keeps the chat responsive.
        threads: CPU threads of each worker; 0: torch's default, at most the CPU limit of a container.
        max_tasks: number of tasks one device runs concurrently, whatever limits its models have.
        max_loaded_models: number of models one device keeps loaded.
        loaded_models_mb: estimated memory they may use together, MiB; 0: all of the device's memory.
        idle_unload_s: a model that was not used for this long is unloaded; 0: never.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "silence_s": "heartbeat_timeout_s",
        "load_silence_s": "load_heartbeat_timeout_s",
        "step_silence_s": "step_timeout_s",
        "niceness": "nice",
        "max_warm": "max_loaded_models",
        "warm_memory_mb": "loaded_models_mb",
    }
    """Earlier names of settings, which are still accepted."""

    job_timeout_s: float = 600.0
    load_timeout_s: float = 900.0
    heartbeat_timeout_s: float = 30.0
    load_heartbeat_timeout_s: float = 120.0
    step_timeout_s: float = 30.0
    cancel_grace_s: float = 15.0
    restart_backoff_s: float = 0.5
    restart_backoff_max_s: float = 60.0
    warm_up: bool = True
    nice: int = 10
    threads: int = 0
    max_tasks: int = 16
    max_loaded_models: int = 4
    loaded_models_mb: int = 0
    idle_unload_s: float = 0.0


SLOW_STEP_FACTOR = 10
"""A step may take this many times the slowest one before it, as decoding and a busy machine do."""
