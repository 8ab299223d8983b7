"""Tells the parent every second that the process is alive, how much memory it uses, and how many passes it made."""

import faulthandler
import sys
import threading
import time
from dataclasses import replace

from inference.engine.pass_counts import PassCounts
from inference.ipc import child, messages
from inference.worker.model_cache import used_memory_mb

HEARTBEAT_S = 1.0


def start_heartbeat(pipes: child.PipeConnection, init: messages.Init, counts: PassCounts) -> None:
    """`counts`: of all engines of the process."""
    threading.Thread(target=_beat_forever, args=(pipes, init, counts), name="heartbeat", daemon=True).start()


def _beat_forever(pipes: child.PipeConnection, init: messages.Init, counts: PassCounts) -> None:
    """If heartbeats stop, faulthandler writes the traceback of every thread to stderr."""
    sent = PassCounts()
    while True:
        faulthandler.dump_traceback_later(init.heartbeat_timeout_s * 0.7)
        now = replace(counts)
        beat = messages.Heartbeat(
            used_memory_mb(init.device),
            total_mb=total_memory_mb(init.device),
            passes=now.passes - sent.passes,
            rows=now.rows - sent.rows,
        )
        pipes.send(beat)
        sent = now
        time.sleep(min(HEARTBEAT_S, init.heartbeat_timeout_s / 4))


def total_memory_mb(device: str) -> int:
    """Of the device, where it has its own memory, else of the machine, MiB; 0: not known yet."""
    torch, kind = sys.modules.get("torch"), device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        backend = getattr(torch, kind, None)
        return int(backend.get_device_properties(device).total_memory // 2**20) if backend is not None else 0
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total // 2**20)
