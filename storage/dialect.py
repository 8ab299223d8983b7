"""The interface for database-specific code; everything else is portable SQLAlchemy Core."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from bot.errors import EaselError, StartupError

T = TypeVar("T")
Operation = Callable[[Connection], T]
DriverConnection = Any
"""The connection of the database's own driver, for what SQLAlchemy does not offer."""


class Transactions(Protocol):
    """Connections that run plain functions, each in its own transaction."""

    async def transact(self, work: Operation[T]) -> T:
        """Run `work` and commit, or roll back if it raises. Must not be cancelled.

        Raises: errors of `work`, DBAPIError.
        """

    async def close(self) -> None: ...


class Writer(Transactions, Protocol):
    async def run_outside(self, work: Callable[[DriverConnection], T]) -> T:
        """Run `work` on the driver's connection, outside transactions."""


class PurgeState(Enum):
    """What a step of the purge has reached. BLOCKED: a reader prevents the rest."""

    MORE = "more"
    BLOCKED = "blocked"
    CLEAN = "clean"


class Dialect(Protocol):
    has_deleted: bool
    """Whether `mark_deleted` was called."""

    def open_writer(self) -> Writer:
        """Transactions on the single writing connection; they hold the write lock from their first statement."""

    def open_migrator(self) -> Engine:
        """A writing engine for migrations, which are synchronous."""

    def open_readers(self) -> Transactions:
        """Transactions on several connections; they are read-only snapshots."""

    def translate_error(self, error: DBAPIError) -> EaselError | None:
        """Our error for an environmental problem; None: it is a bug."""

    def ends_transaction(self, error: DBAPIError) -> bool:
        """Whether the error ended the whole transaction, so that rolling back to a savepoint is not enough."""

    def check_at_start(self) -> None:
        """Raises: StartupError: the database is damaged or belongs to another program."""

    def create_search(self, tx: Connection) -> None:
        """Create the full-text index. Called by migrations."""

    def drop_search(self, tx: Connection) -> None: ...

    def is_search_table(self, name: str) -> bool:
        """Whether a table that is not in the metadata belongs to the full-text index."""

    def add_text(self, tx: Connection, seq: int, owner: str, text: str) -> None:
        """Index the text of the new job with number `seq` for history search."""

    def append_text(self, tx: Connection, seq: int, text: str) -> None:
        """Add to the job's indexed text."""

    def remove_text(self, tx: Connection, seq: int) -> None:
        """Remove the job from the index."""

    def move_texts(self, tx: Connection, *, kept: str, emptied: str) -> None:
        """Index the jobs of the emptied owner, who still owns them, as the kept one's."""

    def mark_deleted(self, tx: Connection) -> None:
        """Record that personal data was deleted, so that the files are purged of it."""

    def needs_purge(self, connection: DriverConnection) -> bool:
        """Whether deleted data may be left in the files."""

    def purge_step(self, connection: DriverConnection) -> PurgeState:
        """A bounded step of the purge. Runs outside transactions."""

    def close(self) -> None:
        """Called after all connections are closed."""

    def match_text(self, owner: str, q: str) -> Select[int] | None:
        """Select the numbers of jobs whose text has all words of `q`; None: nothing can match."""

    def backup(self, path: Path) -> None:
        """Write a copy while the database is in use. Raises: StorageFull."""

    def size_bytes(self) -> int:
        """The disk space that the database takes."""

    def find_damage(self) -> list[str]:
        """Damage that the database itself detects, as sentences."""


def database_url(url: str, data_dir: Path) -> URL:
    """The configured URL, or the SQLite file in the data directory.

    Raises:
        StartupError: it is not a URL, or its database is not supported.
    """
    if not url:
        return URL.create("sqlite", database=str(data_dir / "easel.db"))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartupError("storage.url is not a SQLAlchemy URL, such as sqlite:////srv/easel.db.") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise StartupError("storage.url must name an SQLite file, such as sqlite:////srv/easel.db.")
    return parsed.set(drivername="sqlite")
