"""What the command line needs of the composition root, which alone knows every room."""

from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bot.models import Models
    from bot.ports import Maintenance
    from bot.settings import Secrets
    from bot.usecases import PeopleUseCases, UseCases


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Settings, read and checked.

    Attributes:
        settings: an instance of each section's dataclass, by section.
        root: the clone; folders of models are relative to it.
        files: the files that were read, weakest first.
    """

    settings: Mapping[str, Any]
    secrets: "Secrets"
    data_dir: Path
    models: "Models"
    root: Path
    files: tuple[Path, ...] = ()


class Chores(Protocol):
    """The open database without a pool: for keys and the database's own commands."""

    @property
    def people(self) -> "PeopleUseCases": ...

    @property
    def maintenance(self) -> "Maintenance": ...


class Restored(Protocol):
    """What restoring did. `kept` is where the database of before lies; None: there was none."""

    @property
    def database(self) -> Path: ...

    @property
    def kept(self) -> Path | None: ...

    @property
    def missing(self) -> tuple[Path, ...]:
        """Files of pictures that the database names and that are not there."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Bookkeeping that does not add up."""


class Composition(Protocol):
    def load(self, config: Path | None) -> Loaded:
        """Read the settings, with `config` as the last file. Raises: ConfigError."""

    def serve(self, loaded: Loaded) -> Awaitable[int]:
        """Run until a signal; the exit code. Raises: StartupError."""

    def open_application(self, loaded: Loaded, only_own: bool = True) -> "AbstractAsyncContextManager[UseCases]":
        """The house, with the data lock taken and a dispatcher that runs what is submitted through it.

        Raises: StartupError, also when another process holds the lock.
        """

    def open_storage_only(self, loaded: Loaded) -> AbstractAsyncContextManager[Chores]:
        """The database, upgraded, with the data lock taken. Raises: StartupError."""

    def restore_database(self, loaded: Loaded, source: Path) -> Awaitable[Restored]:
        """Put a backup in the place of the database, with the data lock taken.

        Raises: StartupError, StorageFull, StorageBusy; nothing has changed then.
        """

    def probe_devices(self) -> Mapping[str, Any]:
        """What a short child process found: `{"devices": [{"name": "cpu", "kind": "cpu", "title": "CPU",
        "memory_mb": 16000}]}`; memory 0 when torch did not answer.
        """
