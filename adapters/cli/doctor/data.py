"""What `doctor` says of the data directory and the database, read beside a running server without disturbing it."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from bot.errors import ConfigError, StartupError
from bot.runtime.lock import read_holder
from bot.runtime.update_journal import read_journal
from bot.settings import make_data_dir

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded

_LOOK_TIMEOUT_S = 5.0


def data_dir() -> Iterator[Check]:
    try:
        path = make_data_dir(os.environ)
    except ConfigError as error:
        for problem in error.problems:
            yield Check("data", BAD, problem)
        return
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"easel")
    except OSError as error:
        yield Check("data", BAD, f"The data directory {path} cannot be written: {error.strerror or error}.")
        return
    yield Check("data", OK, f"The data directory is {path}.")
    try:
        journal = read_journal(path)
    except StartupError as error:
        yield Check("data", BAD, str(error))
    else:
        if journal is not None:
            yield Check("data", BAD, "An update was cut short: `easel update` first puts everything back as it was.")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        yield Check("data", WARN, f"Others on this machine can look into {path}: chmod 700 {path} shuts it.")


def database(loaded: "Loaded") -> Iterator[Check]:
    settings = loaded.settings["storage"]
    yield _free_disk(loaded.data_dir, settings.min_free_mb)
    path = find_database(settings.url, loaded.data_dir)
    if path is None:
        yield Check("database", BAD, "storage.url must name an SQLite file, such as sqlite:////srv/easel.db.")
        return
    if not path.exists():
        yield Check("database", OK, f"There is no database yet: the first start makes {path}.")
        return
    problems = database_problems(path)
    for problem in problems:
        yield Check("database", BAD, problem)
    if not problems:
        size = sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*")) / 2**20
        yield Check("database", OK, f"{path} is sound ({size:.1f} MiB, tables at {_revision(path) or 'none yet'}).")


def _free_disk(data_dir: Path, need_mb: int) -> Check:
    free_mb = shutil.disk_usage(data_dir).free // 2**20
    if free_mb < need_mb:
        sentence = f"Only {free_mb} MiB are free on the disk of {data_dir}: below {need_mb} MiB new jobs are refused."
        return Check("database", BAD, sentence)
    return Check("database", OK, f"{free_mb / 1024:.1f} GiB are free on the disk of {data_dir}.")


def find_database(url: str, data_dir: Path) -> Path | None:
    """The SQLite file that `storage.url` names; None when it names something else."""
    if not url:
        return data_dir / "easel.db"
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    is_file = parts.scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:")
    return Path(path) if is_file else None


def database_problems(path: Path | None) -> list[str]:
    """Sentences about damage; empty when the file is sound."""
    if path is None or not path.exists():
        return []
    try:
        with closing(_open(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.Error as error:
        return [f"The database {path} cannot be read ({error}): put back a copy from `db backup`."]
    return [f"The database {path} is damaged: {line}." for line in found if line != "ok"]


def _revision(path: Path) -> str:
    try:
        with closing(_open(path)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def _open(path: Path) -> sqlite3.Connection:
    """To read only. Without a server `immutable` leaves no files behind; a log left by a crash is read as it is."""
    is_quiet = read_holder(path.parent) is None and not path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro&immutable=1" if is_quiet else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=_LOOK_TIMEOUT_S)
