"""Migrates the database to this version's tables at startup."""

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, Engine, inspect, text

from bot.errors import StartupError
from storage.dialect import Dialect
from storage.schema import REVISION, utcnow

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger(__name__)


def migrate(engine: Engine, dialect: Dialect, backups: Path) -> None:
    """Wait for another process that migrates at the same time, then find the migration done.

    Raises:
        StartupError: the database belongs to another program or to a newer Easel.
    """
    with engine.connect() as connection:
        with connection.begin():
            revision = read_revision(connection)
        if revision == REVISION:
            return
        if revision is not None:
            refuse_newer(revision)
            copy = backups / f"before-{REVISION}-{utcnow():%Y%m%dT%H%M%S}.db"
            dialect.backup(copy)
            log.info("copied the database before upgrading it", action="upgrade_backup", path=str(copy))
        with connection.begin():
            run_migrations(connection, dialect)


def run_migrations(connection: Connection, dialect: Dialect, revision: str = "head") -> None:
    from alembic import command

    command.upgrade(_config(connection, dialect), revision)


def read_revision(connection: Connection) -> str | None:
    """None: the database is empty. Raises: StartupError: it has tables of another program."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
    if tables:
        raise StartupError("The database has tables of another program. Set storage.url to another database.")
    return None


def refuse_newer(revision: str) -> None:
    """Raises: StartupError."""
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config(None, None)).walk_revisions()}
    if revision not in known:
        raise StartupError(
            f"The database was created by a newer version of Easel (its schema is {revision}, this version supports "
            f"{REVISION}). Update Easel: easel update."
        )


def _config(connection: Connection | None, dialect: Dialect | None) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "dialect": dialect})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
