"""What a training shares with its process: the request, progress, and waiting while people's jobs run."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bot.errors import TrainingRefused
from bot.ports import TrainingProgress, TrainingRequest
from bot.runtime.private_files import make_private_folder

MIN_INTERVAL_S = 0.2
"""Between two messages about the same stage."""
STATE, FINGERPRINT = "state", "fingerprint"
"""A folder in `TrainingRequest.work`, which also has what the parent keeps there; a file in it."""


class TrainingSession:
    """One training. Whatever takes long calls `proceed` between its parts, at least every few seconds."""

    def __init__(
        self, request: TrainingRequest, is_free: threading.Event, send: Callable[[TrainingProgress], None]
    ) -> None:
        self.request = request
        self.work = Path(request.work) / STATE
        self._is_free = is_free
        self._send = send
        self._started = time.monotonic()
        self._waited_s = 0.0
        self._stage, self._sent_at = "", 0.0

    def proceed(self, stage: str, done: int = 0, total: int = 0, loss: float | None = None) -> None:
        """Report progress, then wait until no job of a person runs. `stage`: see `TrainingProgress`."""
        self._wait(done, total, loss)
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._sent_at >= MIN_INTERVAL_S:
            self._stage, self._sent_at = stage, now
            self._send(TrainingProgress(stage=stage, done=done, total=total, loss=loss))

    @property
    def must_wait(self) -> bool:
        """Whether the next `proceed` will wait, and on a GPU perhaps end this process: what is there should be kept."""
        return not self._is_free.is_set()

    def _wait(self, done: int, total: int, loss: float | None) -> None:
        if self._is_free.is_set():
            return
        started = time.monotonic()
        self._send(TrainingProgress(stage="waiting", done=done, total=total, loss=loss))
        self._is_free.wait()
        self._stage = "waiting"
        self._waited_s += time.monotonic() - started

    @property
    def seconds(self) -> float:
        """Since the start of the process, without waiting for people."""
        return time.monotonic() - self._started - self._waited_s

    def open_work(self, fingerprint: str) -> None:
        """Create the folder for features and checkpoints, and empty it if it is of another training.

        Args:
            fingerprint: a hash of everything that these depend on: examples, model revision, settings. An example that
                was taken out of the folder therefore also leaves features and checkpoints.

        Raises: OSError.
        """
        make_private_folder(self.work)
        file = self.work / FINGERPRINT
        if file.is_file() and file.read_text(encoding="utf-8", errors="replace") == fingerprint:
            return
        for path in self.work.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        file.write_text(fingerprint, encoding="utf-8")

    def require_disk(self, need_bytes: int) -> None:
        """Raises: TrainingRefused: less is free where features and checkpoints go."""
        make_private_folder(self.work)
        free = shutil.disk_usage(self.work).free
        if free < need_bytes:
            raise TrainingRefused("disk_small", need=format_size(need_bytes), free=format_size(free))


def format_size(size: int) -> str:
    """As in "1.5 GiB" or "20 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{-(-size // 2**20)} MiB"


def peak_memory_mb() -> int:
    """The largest memory use of this process, MiB."""
    if sys.platform == "win32":
        import psutil  # type: ignore[import-untyped]

        return int(psutil.Process().memory_info().peak_wset) // 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
