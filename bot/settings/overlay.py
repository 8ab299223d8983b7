"""Edits the owner's `config.toml` in the data directory; everything else in it, including comments, is kept."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from bot.errors import ConfigError
from bot.runtime.durable_files import write_atomically
from bot.runtime.private_files import FILE_MODE

HEADER = (
    "Your own settings; they override the config.toml next to main.py, which lists all settings with their defaults."
)


class Overlay:
    """The file's current content; nothing is written before `save`. Raises: ConfigError: it is not TOML; OSError."""

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

    def get_value(self, section: str, key: str) -> Any:
        """The current value; None: it is not set."""
        table = self._document.get(section)
        return table.get(key) if isinstance(table, Mapping) else None

    def set_value(self, section: str, key: str, value: Any) -> None:
        _update_key(self._table(self._document, section), key, value)

    def set_in_table(self, section: str, name: str, key: str, value: Any) -> None:
        """Set `key` of `[section.NAME]`. Raises: ConfigError: the file is written so that it cannot be changed here."""
        within = self._document.get(section)
        if within is None:
            self._document[section] = tomlkit.table(is_super_table=True)
            within = self._document[section]
        if not isinstance(within, Mapping) or not isinstance(within.get(name, {}), Mapping):
            raise ConfigError([f"{self._path}: {section}.{name} must be a table: write [{section}.{name}]."])
        _update_key(self._table(within, name), key, value)
        written = tomllib.loads(tomlkit.dumps(self._document)).get(section, {}).get(name, {})
        if written.get(key) != value:
            raise ConfigError([f"{self._path}: set {key} of [{section}.{name}] by hand."])

    def remove_value(self, section: str, key: str) -> None:
        table = self._document.get(section)
        if isinstance(table, Table):
            table.pop(key, None)

    def model_tables(self) -> dict[str, dict[str, Any]]:
        """The table of each model, as plain values."""
        found = self._document.unwrap().get("models", {})
        return {name: table for name, table in found.items() if isinstance(table, dict)}

    def set_model(self, name: str, values: Mapping[str, Any], *, renamed: Mapping[str, str] | None = None) -> None:
        """Set these keys of `[models.NAME]` and keep its others, except the old names of these keys.

        `renamed`: new name by old name.
        """
        before = self.model_tables()
        replaced = {old for old, new in (renamed or {}).items() if new in values}
        others = {key: value for key, value in before.get(name, {}).items() if key not in replaced}
        wanted = {**others, **{key: _plain(value) for key, value in values.items()}}
        if not isinstance(self._document.get("models", tomlkit.table()), Table | OutOfOrderTableProxy):
            self._rewrite_models(before)
        models = self._document.get("models")
        if models is None:
            models = tomlkit.table(is_super_table=True)
            self._document["models"] = models
        table = self._table(models, name)
        for key in replaced:
            table.pop(key, None)
        for key, value in values.items():
            _update_key(table, key, value)
        if tomllib.loads(tomlkit.dumps(self._document)).get("models", {}).get(name) != wanted:
            self._rewrite_models(before | {name: wanted})

    def _rewrite_models(self, tables: Mapping[str, dict[str, Any]]) -> None:
        """Write plain tables: tomlkit cannot add keys to every notation that TOML allows."""
        del self._document["models"]
        models = tomlkit.table(is_super_table=True)
        for name, values in tables.items():
            table = tomlkit.table()
            table.update(values)
            models[name] = table
        self._document["models"] = models

    def remove_model(self, name: str) -> None:
        models = self._document.get("models")
        if isinstance(models, Mapping) and name in models:
            del models[name]  # type: ignore[attr-defined]

    def _table(self, within: Any, name: str) -> Any:
        if name not in within:
            within[name] = tomlkit.table()
        return within[name]

    def save(self) -> None:
        """Write the file atomically; the previous version is kept next to it as `.bak`. Raises: OSError."""
        text = tomlkit.dumps(self._document)
        if text == self._before:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        mode = self._path.stat().st_mode & 0o777 if self._path.exists() else FILE_MODE
        if self._before:
            write_atomically(self._path.with_name(f"{self._path.name}.bak"), self._before, mode)
        write_atomically(self._path, text, mode)


def _update_key(table: Any, key: str, value: Any) -> None:
    """Set a value; one that does not change keeps its formatting."""
    current = table.get(key)
    plain = current.unwrap() if hasattr(current, "unwrap") else current
    wanted = _plain(value)
    if current is None or plain != wanted or type(plain) is not type(wanted):
        table[key] = wanted


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
