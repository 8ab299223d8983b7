"""Free disk space, measured at most once a second."""

import shutil
import time
from pathlib import Path

from bot.errors import StorageFull


class DiskSpace:
    def __init__(self, folder: Path, *, min_free_mb: int) -> None:
        self._folder = folder
        self._min_free_mb = min_free_mb
        self._measured_at = -1.0
        self._free_mb = 0

    def free_mb(self) -> int:
        now = time.monotonic()
        if self._measured_at < 0 or now - self._measured_at > 1:
            self._free_mb = shutil.disk_usage(self._folder).free >> 20
            self._measured_at = now
        return self._free_mb

    def spare_mb(self) -> int:
        """What may be used before new work is refused."""
        return self.free_mb() - self._min_free_mb

    def require_free_space(self) -> None:
        """Refuse new work while there is still enough space to finish running jobs.

        Raises:
            StorageFull: less is free than `storage.min_free_mb`.
        """
        if self.free_mb() < self._min_free_mb:
            raise StorageFull(free_mb=self._free_mb, need_mb=self._min_free_mb)
