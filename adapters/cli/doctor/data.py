"""Checks of the data directory and the database, read-only, so they are safe while a server is running."""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from bot.errors import ConfigError, StartupError
from bot.ports import AdapterRecord
from bot.runtime.lock import FILE_NAME, link_sentence, read_holder
from bot.runtime.private_files import is_exposed
from bot.runtime.update_journal import read_journal
from bot.settings import make_data_dir

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

_BUSY_TIMEOUT_S = 5.0


def check_data_dir() -> Iterator[Check]:
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
        yield Check("data", BAD, f"The data directory {path} is not writable: {error.strerror or error}.")
        return
    yield Check("data", OK, f"The data directory is {path}.")
    try:
        journal = read_journal(path)
    except StartupError as error:
        yield Check("data", BAD, str(error))
    else:
        if journal is not None:
            yield Check("data", BAD, "An update was interrupted: `easel update` rolls it back first.")
    if (path / FILE_NAME).is_symlink():
        yield Check("data", BAD, link_sentence(path / FILE_NAME))
    folder = path.resolve()
    if is_exposed(folder):
        yield Check("data", WARN, f"Other users of this machine can read {folder}: run `chmod 700 {folder}`.")


def check_database(loaded: "LoadedConfig") -> Iterator[Check]:
    settings = loaded.settings["storage"]
    yield _check_free_disk(loaded.data_dir, settings.min_free_mb)
    path = find_database(settings.url, loaded.data_dir)
    if path is None:
        yield Check("database", BAD, "storage.url must be an SQLite file, such as sqlite:////srv/easel.db.")
        return
    if not path.exists():
        yield Check("database", OK, f"There is no database yet; the first start creates {path}.")
        return
    problems = find_database_problems(path)
    for problem in problems:
        yield Check("database", BAD, problem)
    if not problems:
        size_mb = sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*")) / 2**20
        revision = _read_revision(path) or "none yet"
        yield Check("database", OK, f"{path} is intact ({size_mb:.1f} MiB, schema {revision}).")


def check_keys(loaded: "LoadedConfig") -> Iterator[Check]:
    """Says what a proxy in front of the server would make of strangers."""
    path = find_database(loaded.settings["storage"].url, loaded.data_dir)
    keys = _read_keys(path) if path is not None and path.exists() else (0, False)
    if keys is None:
        return
    active, is_locked = keys
    if active:
        yield Check("keys", OK, f"Active API keys: {active}.")
    elif is_locked:
        yield Check("keys", OK, "No API key is active: create one, or run `easel keys unlock` if there is no proxy.")
    else:
        sentence = (
            "No API key is needed: every program on this machine is an admin. A proxy makes admins of strangers, and "
            "some proxies cannot be recognised: before you set up one, run `easel keys create`."
        )
        yield Check("keys", OK, sentence)


_KEYS = """
SELECT count(*) - count(revoked_at), count(*), (
    SELECT value FROM person_setting JOIN account USING (person)
    WHERE platform = 'local' AND person_setting.name = 'locked'
) FROM api_key
"""


def _read_keys(path: Path) -> tuple[int, bool] | None:
    """The number of active keys, and whether requests without one are refused; None if that cannot be read."""
    try:
        with closing(_open_read_only(path)) as connection:
            active, existing, setting = connection.execute(_KEYS).fetchone()
    except sqlite3.Error:
        return None
    return int(active), existing > 0 if setting is None else json.loads(setting) == "yes"


def read_capabilities(loaded: "LoadedConfig") -> Mapping[str, Mapping[str, Any]]:
    """What each model reported when it was loaded last; empty if that cannot be read."""
    path = find_database(loaded.settings["storage"].url, loaded.data_dir)
    if path is None or not path.exists():
        return {}
    try:
        with closing(_open_read_only(path)) as connection:
            rows = connection.execute("SELECT model, form FROM model_form").fetchall()
        found = {str(model): json.loads(form) for model, form in rows}
    except (sqlite3.Error, ValueError):
        return {}
    return {model: form for model, form in found.items() if isinstance(form, dict)}


def read_adapters(loaded: "LoadedConfig") -> list[AdapterRecord]:
    """What was trained here, by name; empty if that cannot be read."""
    path = find_database(loaded.settings["storage"].url, loaded.data_dir)
    if path is None or not path.exists():
        return []
    names = [field.name for field in fields(AdapterRecord)]
    try:
        with closing(_open_read_only(path)) as connection:
            rows = connection.execute(f"SELECT {', '.join(names)} FROM adapter ORDER BY name").fetchall()
        return [_to_adapter(dict(zip(names, row, strict=True))) for row in rows]
    except (sqlite3.Error, ValueError):
        return []


def _to_adapter(row: dict[str, Any]) -> AdapterRecord:
    created_at = datetime.fromisoformat(row["created_at"]).replace(tzinfo=UTC)
    return AdapterRecord(**{**row, "report": json.loads(row["report"]), "created_at": created_at})


def _check_free_disk(data_dir: Path, min_free_mb: int) -> Check:
    free_mb = shutil.disk_usage(data_dir).free // 2**20
    if free_mb < min_free_mb:
        sentence = f"Only {free_mb} MiB free on the disk of {data_dir}: below {min_free_mb} MiB new jobs are refused."
        return Check("database", BAD, sentence)
    return Check("database", OK, f"{free_mb / 1024:.1f} GiB free on the disk of {data_dir}.")


def find_database(url: str, data_dir: Path) -> Path | None:
    """The SQLite file of `storage.url`; None if it is another kind of database."""
    if not url:
        return data_dir / "easel.db"
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    is_file = parts.scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:")
    return Path(path) if is_file else None


def find_database_problems(path: Path | None) -> list[str]:
    """Sentences about damage; empty if the file is intact."""
    if path is None or not path.exists():
        return []
    try:
        with closing(_open_read_only(path)) as connection:
            results = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.Error as error:
        return [f"The database {path} cannot be read ({error}): restore a backup with `easel db restore`."]
    return [f"The database {path} is damaged: {line}." for line in results if line != "ok"]


def _read_revision(path: Path) -> str:
    try:
        with closing(_open_read_only(path)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open read-only. Without a server `immutable` leaves no files behind; a WAL left by a crash is read as well."""
    is_quiet = read_holder(path.parent) is None and not path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro&immutable=1" if is_quiet else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=_BUSY_TIMEOUT_S)
