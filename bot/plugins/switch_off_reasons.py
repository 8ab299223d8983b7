"""Why plugins were switched off by Easel itself, kept so that admins can read it after a restart."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from bot.plugins.discovery import FOLDER, STATE_FOLDER


@dataclass(frozen=True)
class SwitchOffReasons:
    data_dir: Path

    def read(self, name: str) -> str:
        """Empty: it was not, or an admin did it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._path(name).read_text("utf-8").strip()
        return ""

    def write(self, name: str, reason: str) -> None:
        """Raises: OSError."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(reason + "\n", "utf-8")

    def forget(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self.data_dir / FOLDER / STATE_FOLDER / f"{name}.txt"
