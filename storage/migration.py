"""Brings the database to this version's tables, at start."""

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
    """Another process that migrates at the same time is waited for, and its work is found done.

    Raises:
        StartupError: the database belongs to another program or to a newer Easel.
    """
    with engine.connect() as connection:
        with connection.begin():
            revision = revision_of(connection)
        if revision == REVISION:
            return
        if revision is not None:
            refuse_newer(revision)
            copy = backups / f"before-{REVISION}-{utcnow():%Y%m%dT%H%M%S}.db"
            dialect.backup(copy)
            log.info("copied the database before upgrading it", action="upgrade_backup", path=str(copy))
        with connection.begin():
            upgrade(connection, dialect)


def upgrade(connection: Connection, dialect: Dialect, revision: str = "head") -> None:
    from alembic import command

    command.upgrade(_config(connection, dialect), revision)


def revision_of(connection: Connection) -> str | None:
    """None: it is empty. Raises: StartupError when another program's tables are in it."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
    if tables:
        raise StartupError("The database holds another program's tables. Give Easel one of its own: storage.url.")
    return None


def refuse_newer(revision: str) -> None:
    """Raises: StartupError."""
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config(None, None)).walk_revisions()}
    if revision not in known:
        raise StartupError(
            f"The database was made by a newer version of Easel (its tables are at {revision}, this version knows "
            f"{REVISION}). Update Easel: easel update."
        )


def _config(connection: Connection | None, dialect: Dialect | None) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "dialect": dialect})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
