"""The plugins that the processes of the devices load: which ones, and what is reported about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class WorkerPlugin:
    """An enabled plugin with hooks for the worker.

    Attributes:
        sha256: of its file `plugins/NAME.py` in the data directory, as the server found it; empty: it is the entry
            point NAME of an installed package.
        settings: plain values, by name.
        time_limit_s: seconds that one call of its hooks may take.
    """

    name: str
    sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    time_limit_s: float = 5.0


class WorkerPlugins(Protocol):
    """Which plugins there are for the worker. All methods return immediately."""

    def list_for_worker(self) -> Sequence[WorkerPlugin]:
        """The enabled ones, in the order in which their hooks are called."""

    def record_loaded(self, name: str, hooks: Sequence[str]) -> None:
        """A worker has loaded it; it implements these hooks."""

    def record_failure(self, name: str, hook: str, sentence: str) -> None:
        """A hook had no effect, or the plugin could not be loaded (`hook` is "import"). It stays enabled."""

    def disable_for_worker(self, name: str, reason: str) -> None:
        """It hung or ended a worker: disable it, now and after a restart, and show the reason to admins."""


class NoWorkerPlugins:
    """There are none."""

    def list_for_worker(self) -> Sequence[WorkerPlugin]:
        return ()

    def record_loaded(self, name: str, hooks: Sequence[str]) -> None:
        """Nothing loads."""

    def record_failure(self, name: str, hook: str, sentence: str) -> None:
        """Nothing fails."""

    def disable_for_worker(self, name: str, reason: str) -> None:
        """Nothing is enabled."""
