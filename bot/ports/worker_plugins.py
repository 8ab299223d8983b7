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
        settings: with its defaults filled in; plain values.
    """

    name: str
    sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


class WorkerPlugins(Protocol):
    """Which plugins there are for the worker. All methods return immediately."""

    @property
    def time_limit_s(self) -> float:
        """Seconds that one call of a hook may take."""

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

    time_limit_s = 10.0

    def list_for_worker(self) -> Sequence[WorkerPlugin]:
        return ()

    def record_loaded(self, name: str, hooks: Sequence[str]) -> None:
        """Nothing loads."""

    def record_failure(self, name: str, hook: str, sentence: str) -> None:
        """Nothing fails."""

    def disable_for_worker(self, name: str, reason: str) -> None:
        """Nothing is enabled."""
