"""Changes the owner's `config.toml` in the data directory, and keeps what else stands there, comments included."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from bot.errors import ConfigError
from bot.runtime.durable_files import write_whole

HEADER = "Your own settings; they win over the config.toml beside main.py, which lists every one with its default."


class Overlay:
    """The file as it is now; nothing is written before `save`. Raises: ConfigError, when it is no TOML; OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._before = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            self._before = ""
        except UnicodeDecodeError as error:
            raise ConfigError([f"{path}: this is not UTF-8 text: save it as UTF-8."]) from error
        try:
            self._document = tomlkit.parse(self._before)
        except TOMLKitError as error:
            raise ConfigError([f"{path}: this is not TOML: {error}."]) from error
        if not self._before:
            self._document.add(tomlkit.comment(HEADER))

    def get(self, section: str, key: str) -> Any:
        """The value that stands there; None without one."""
        table = self._document.get(section)
        return table.get(key) if isinstance(table, Mapping) else None

    def set(self, section: str, key: str, value: Any) -> None:
        _put(self._table(self._document, section), key, value)

    def unset(self, section: str, key: str) -> None:
        table = self._document.get(section)
        if isinstance(table, Table):
            table.pop(key, None)

    def models(self) -> dict[str, dict[str, Any]]:
        """Each model's table, as plain values."""
        found = self._document.unwrap().get("models", {})
        return {name: table for name, table in found.items() if isinstance(table, dict)}

    def set_model(self, name: str, values: Mapping[str, Any]) -> None:
        """These keys of `[models.NAME]`; its others stay."""
        before = self.models()
        wanted = {**before.get(name, {}), **{key: _plain(value) for key, value in values.items()}}
        if not isinstance(self._document.get("models", tomlkit.table()), Table | OutOfOrderTableProxy):
            self._write_models_anew(before)
        models = self._document.get("models")
        if models is None:
            models = tomlkit.table(is_super_table=True)
            self._document["models"] = models
        table = self._table(models, name)
        for key, value in values.items():
            _put(table, key, value)
        if tomllib.loads(tomlkit.dumps(self._document)).get("models", {}).get(name) != wanted:
            self._write_models_anew(before | {name: wanted})

    def _write_models_anew(self, tables: Mapping[str, dict[str, Any]]) -> None:
        """In plain tables: the library cannot add to every way in which TOML lets them be written."""
        del self._document["models"]
        made = tomlkit.table(is_super_table=True)
        for name, values in tables.items():
            table = tomlkit.table()
            table.update(values)
            made[name] = table
        self._document["models"] = made

    def remove_model(self, name: str) -> None:
        models = self._document.get("models")
        if isinstance(models, Mapping) and name in models:
            del models[name]  # type: ignore[attr-defined]

    def _table(self, within: Any, name: str) -> Any:
        if name not in within:
            within[name] = tomlkit.table()
        return within[name]

    def save(self) -> None:
        """Written whole or not at all; the last version stays beside it as `.bak`. Raises: OSError."""
        text = tomlkit.dumps(self._document)
        if text == self._before:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o644
        if self._before:
            self._path.with_name(f"{self._path.name}.bak").write_text(self._before, encoding="utf-8")
        write_whole(self._path, text, mode)


def _put(table: Any, key: str, value: Any) -> None:
    """A value that stands there already keeps its looks."""
    found = table.get(key)
    plain = found.unwrap() if hasattr(found, "unwrap") else found
    wanted = _plain(value)
    if found is None or plain != wanted or type(plain) is not type(wanted):
        table[key] = wanted


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
