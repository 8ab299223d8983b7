"""Imports a plugin into the server, which must not import torch and its like because of it."""

import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from bot.plugins.discovery import NOT_IN_SERVER, SETTINGS, FoundPlugin

MODULE_PREFIX = "easel_plugin_"


class HeavyImport(ImportError):
    """The plugin imports what only the worker, or a child process, may."""


def load_server_plugin(plugin: FoundPlugin) -> Any:
    """The module or object with the plugin's hooks. Raises: whatever its import raises."""
    with _without_heavy_imports():
        if plugin.path is not None:
            return import_file(plugin.name, plugin.path)
        assert plugin.server is not None
        loaded = plugin.server.load()
    return loaded() if isinstance(loaded, type) else loaded


def import_file(name: str, path: Path) -> ModuleType:
    """The file as it is now, under a name of its own. Raises: whatever it raises."""
    module_name = MODULE_PREFIX + name.replace("-", "_")
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look it up there
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # not its compiled file, which may be old
    except BaseException:
        sys.modules.pop(module_name, None)
        raise
    return module


def forget_module(name: str) -> None:
    sys.modules.pop(MODULE_PREFIX + name.replace("-", "_"), None)


def defaults_of(loaded: Any) -> Mapping[str, Any]:
    """Of the plugin's settings. Raises: TypeError."""
    defaults = getattr(loaded, SETTINGS, {})
    if not isinstance(defaults, Mapping) or not all(isinstance(key, str) for key in defaults):
        raise TypeError(f"{SETTINGS} must be a table of names and plain values")
    return defaults


class _HeavyImports(importlib.abc.MetaPathFinder):
    """Refuses them in one thread; the others may import what they like."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.partition(".")[0]
        if name in NOT_IN_SERVER and threading.get_ident() == self._thread:
            raise HeavyImport(
                f"the server must not import {name}: import it in the worker's hooks, or in a function for "
                "plugin.run_in_process"
            )
        return None


@contextmanager
def _without_heavy_imports() -> Iterator[None]:
    finder = _HeavyImports()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
