"""What the command line needs from the composition root, the only package that imports every other."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bot.models import ModelRegistry
    from bot.ports import BuildState, Maintenance
    from bot.settings import RenamedSetting, Secrets
    from bot.usecases import PeopleUseCases, UseCases
    from bot.usecases.person_blocking import PersonBlocking


@dataclass(frozen=True, kw_only=True)
class LoadedConfig:
    """Validated settings.

    Attributes:
        settings: an instance of each section's dataclass, by section.
        root: the clone; model folders are relative to it.
        files: the settings files that were read, lowest priority first.
        renamed: settings that were read by an old name.
    """

    settings: Mapping[str, Any]
    secrets: "Secrets"
    data_dir: Path
    models: "ModelRegistry"
    root: Path
    files: tuple[Path, ...] = ()
    renamed: "tuple[RenamedSetting, ...]" = ()


class DatabaseAdmin(Protocol):
    """An open database without a worker pool, for API keys, people and the `db` commands."""

    @property
    def people(self) -> "PeopleUseCases": ...

    @property
    def blocking(self) -> "PersonBlocking": ...

    @property
    def maintenance(self) -> "Maintenance": ...


class RestoreReport(Protocol):
    """The result of a restore. `kept` is the backup of the previous database; None: there was none."""

    @property
    def database(self) -> Path: ...

    @property
    def backup(self) -> Path | None: ...

    @property
    def missing(self) -> tuple[Path, ...]:
        """Image files that the database refers to and that do not exist."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Inconsistent records."""


class CompositionRoot(Protocol):
    def load(self, config: Path | None) -> LoadedConfig:
        """Read the settings, with `config` as the last file. Raises: ConfigError."""

    def serve(self, loaded: LoadedConfig) -> Awaitable[int]:
        """Run until a signal and return the exit code. Raises: StartupError."""

    def open_application(
        self, loaded: LoadedConfig, only_submitted: bool = True
    ) -> "AbstractAsyncContextManager[UseCases]":
        """Open the application with the data lock held and a dispatcher that runs the jobs submitted through it.

        Raises: StartupError, also when another process holds the lock.
        """

    def open_storage_only(self, loaded: LoadedConfig) -> AbstractAsyncContextManager[DatabaseAdmin]:
        """Open the database, upgraded to this version's schema, with the data lock held. Raises: StartupError."""

    def restore_database(self, loaded: LoadedConfig, source: Path) -> Awaitable[RestoreReport]:
        """Replace the database by a backup, with the data lock held.

        Raises: StartupError, StorageFull, StorageBusy; nothing has changed in that case.
        """

    def list_builds(self, loaded: LoadedConfig) -> "Sequence[BuildState]":
        """What was compiled for models on this machine."""

    def builds_size_mb(self, loaded: LoadedConfig) -> int:
        """What it takes on the disk, with all that torch.compile keeps."""

    def is_installed(self, backend: str) -> bool:
        """Whether a backend's library is."""

    def has_compiler(self) -> bool:
        """Whether a C++ compiler is installed, which torch.compile needs."""

    def probe_devices(self) -> Mapping[str, Any]:
        """Probe the devices in a short-lived child process.

        Returns `{"devices": [{"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 16000}]}`; memory is 0
        when torch did not answer.
        """

    def probe_sandbox(self) -> Mapping[str, str]:
        """What confines the process that decodes images, tried in a short-lived child process: by measure the reason
        why it is not active, "" if it is. Measures: no_new_privs, landlock, capabilities, limits, seccomp.
        """
