"""Finds a plugin in the child and imports it: a file of the data directory, or an entry point of an installed package.

The parent names a file by the SHA-256 that it read, so what runs here is what the server lists.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from bot.plugins.discovery import FOLDER, STATE_FOLDER, WORKER_GROUP, plugin_name
from bot.plugins.plugin_settings import PluginsSettings, read_own_settings
from bot.plugins.server_modules import MODULE_PREFIX, defaults_of
from bot.ports import WorkerPlugin
from bot.settings import find_data_dir


class PluginMistake(Exception):
    """What is wrong with a plugin, as a sentence for its owner."""


def load_plugin(plugin: WorkerPlugin) -> Any:
    """The module or object with its hooks. Raises: PluginMistake, and whatever its import raises."""
    return _import_file(plugin) if plugin.sha256 else _load_entry_point(plugin.name)


def settings_of(plugin: WorkerPlugin, loaded: Any) -> Mapping[str, Any]:
    """The plugin's settings with its defaults, which of a package only the worker knows. Raises: PluginMistake."""
    given = PluginsSettings().with_tables({plugin.name: plugin.settings})
    own = read_own_settings(plugin.name, defaults_of(loaded), given)
    if own.problem:
        raise PluginMistake(own.problem)
    return own.values


def state_folder(name: str) -> Path:
    """The plugin's own folder, which exists afterwards."""
    folder = find_data_dir(os.environ) / FOLDER / STATE_FOLDER / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _import_file(plugin: WorkerPlugin) -> ModuleType:
    folder = find_data_dir(os.environ) / FOLDER
    path = next((path for path in sorted(folder.glob("*.py")) if plugin_name(path.stem) == plugin.name), None)
    if path is None:
        raise PluginMistake(f"{FOLDER}/{plugin.name}.py is missing.")
    source = path.read_bytes()
    if hashlib.sha256(source).hexdigest() != plugin.sha256:
        raise PluginMistake(f"{FOLDER}/{path.name} was changed after the server had read it. Restart Easel to use it.")
    module_name = MODULE_PREFIX + plugin.name.replace("-", "_")
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look it up there
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # the bytes that were compared, not the file again
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _load_entry_point(name: str) -> Any:
    found = [one for one in metadata.entry_points(group=WORKER_GROUP) if plugin_name(one.name) == name]
    if not found:
        raise PluginMistake(f"No installed package has the plugin {name} for workers.")
    loaded = found[0].load()
    return loaded() if isinstance(loaded, type) else loaded
