"""What differs between databases, so that everything else is portable SQLAlchemy Core."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from bot.errors import EaselError, StartupError

T = TypeVar("T")
Operation = Callable[[Connection], T]


class Transactions(Protocol):
    """Connections that plain functions are run on, each in a transaction of its own."""

    async def transact(self, work: Operation[T]) -> T:
        """Commits when the work is done, rolls back when it raises. Not to be cancelled.

        Raises: what the work raised, DBAPIError.
        """

    async def close(self) -> None: ...


class Dialect(Protocol):
    def writer(self) -> Transactions:
        """On one connection; they may write from their first statement."""

    def migrator(self) -> Engine:
        """An engine that may write, for migrations, which are not async."""

    def readers(self) -> Transactions:
        """On several; they are snapshots and cannot write."""

    def translate(self, error: DBAPIError) -> EaselError | None:
        """Our name for a trouble that is not a mistake of ours; None: it is one."""

    def ends_transaction(self, error: DBAPIError) -> bool:
        """Rolling back to a savepoint will not do: the whole transaction is lost."""

    def check_at_start(self) -> None:
        """Raises: StartupError when the database is damaged or is not one of ours."""

    def create_search(self, tx: Connection) -> None:
        """Make what full-text search needs. Migrations call it."""

    def drop_search(self, tx: Connection) -> None: ...

    def is_search_table(self, name: str) -> bool:
        """Not in our metadata, yet ours."""

    def add_text(self, tx: Connection, seq: int, owner: str, text: str) -> None:
        """Let history search find the new job numbered `seq` by this text."""

    def append_text(self, tx: Connection, seq: int, text: str) -> None:
        """And by this."""

    def remove_text(self, tx: Connection, seq: int) -> None:
        """And by nothing any more."""

    def matching(self, owner: str, q: str) -> Select[int] | None:
        """The numbers of the jobs whose text has all words of `q`; None: nothing can match."""

    def backup(self, path: Path) -> None:
        """An online copy. Raises: StorageFull."""

    def damage(self) -> list[str]:
        """Sentences about what the database finds wrong with itself."""


def url_of(url: str, data_dir: Path) -> URL:
    """The configured URL, or the SQLite file in the data directory.

    Raises:
        StartupError: it is no URL, or of a database that Easel does not know.
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
