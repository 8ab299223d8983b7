"""Finds plugins without importing them: installed packages by their entry points, files by what they define.

A file in `plugins/` is read with `ast`. Functions that `ServerHooks` names make it a plugin of the server, functions
that `WorkerHooks` names one of the worker; it may be both. The server imports only files of the first kind, and these
must not import torch and the like outside of functions.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bot.options import find_nearest
from bot.plugins.hookspecs import ServerHooks, WorkerHooks
from bot.plugins.registry import PREFIX, hook_names

FOLDER = "plugins"
"""In the data directory: the files, and in `state/NAME` what each plugin keeps."""
STATE_FOLDER = "state"
SERVER_GROUP, WORKER_GROUP = "easel.plugins", "easel.worker_plugins"
SETTINGS = "SETTINGS"
"""The constant of a plugin with the defaults of its settings; any other setting is refused."""
NOT_IN_SERVER = frozenset(
    {"accelerate", "diffusers", "onnxruntime", "openvino", "peft", "torch", "torchao", "torchvision", "transformers"}
)
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
RESERVED_NAMES = frozenset({"order", "disabled", "time-limit-s", STATE_FOLDER})
"""Settings of `[plugins]` itself."""


@dataclass(frozen=True, kw_only=True)
class FoundPlugin:
    """A plugin that is there, whether or not it works.

    Attributes:
        source: for people: "plugins/NAME.py", or the package.
        path, sha256: of a file.
        server, worker: the entry points of a package; None: it has none of that kind.
        server_hooks, worker_hooks: names; of a package unknown until it is imported.
        defaults: of its settings; None: unknown until it is imported.
        problem: why it cannot be used, as a sentence; empty: nothing is wrong so far.
    """

    name: str
    source: str
    path: Path | None = None
    sha256: str = ""
    server: EntryPoint | None = None
    worker: EntryPoint | None = None
    server_hooks: frozenset[str] = frozenset()
    worker_hooks: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] | None = None
    problem: str = ""

    @property
    def is_for_server(self) -> bool:
        return self.server is not None or bool(self.server_hooks)

    @property
    def is_for_worker(self) -> bool:
        return self.worker is not None or bool(self.worker_hooks)


@functools.cache
def list_installed(group: str) -> Iterable[EntryPoint]:
    """Of installed packages, which stay the same while the server runs."""
    return tuple(entry_points(group=group))


def find_plugins(
    data_dir: Path, list_entry_points: Callable[[str], Iterable[EntryPoint]] = list_installed
) -> list[FoundPlugin]:
    """Files first, each kind by name. Of several with one name, none can be used."""
    found: dict[str, FoundPlugin] = {}
    for one in (*_find_files(data_dir / FOLDER), *_find_packages(list_entry_points)):
        first = found.get(one.name)
        if first is not None:
            one = replace(
                first, problem=f"{first.source} and {one.source} have one name: remove or rename one of them."
            )
        found[one.name] = one
    return list(found.values())


def _find_files(folder: Path) -> Iterator[FoundPlugin]:
    if folder.is_dir():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith(("_", ".")):
                yield read_plugin_file(path)


def _find_packages(list_entry_points: Callable[[str], Iterable[EntryPoint]]) -> Iterator[FoundPlugin]:
    groups = [
        {plugin_name(one.name): one for one in list_entry_points(group)} for group in (SERVER_GROUP, WORKER_GROUP)
    ]
    for name in sorted(groups[0].keys() | groups[1].keys()):
        server, worker = (group.get(name) for group in groups)
        known = server or worker
        assert known is not None
        source = f"package {known.dist.name} {known.dist.version}" if known.dist is not None else known.value
        yield FoundPlugin(name=name, source=source, server=server, worker=worker, problem=name_problem(name))


def plugin_name(written: str) -> str:
    """Of a file or an entry point: `add_date` is `add-date`, as in `[plugins.add-date]`."""
    return written.strip().casefold().replace("_", "-")


def name_problem(name: str) -> str:
    if name in RESERVED_NAMES:
        return f"A plugin cannot be called {name}, which is a setting: rename it."
    return "" if _NAME.fullmatch(name) else "A plugin's name has only a to z, 0 to 9 and - between them: rename it."


def read_plugin_file(path: Path) -> FoundPlugin:
    """What the file defines, without running it."""
    name, source = plugin_name(_readable(path.stem)), f"{FOLDER}/{_readable(path.name)}"
    if not path.is_file():  # reading a pipe or a device may never end
        return FoundPlugin(name=name, source=source, path=path, problem="It is not a file.")
    try:
        code = path.read_bytes()
        outline = _Outline.read(ast.parse(code, filename=str(path)))
    except SyntaxError as error:
        return FoundPlugin(name=name, source=source, path=path, problem=f"Line {error.lineno}: {error.msg}.")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return FoundPlugin(name=name, source=source, path=path, problem=f"It cannot be read: {error}.")
    return FoundPlugin(
        name=name,
        source=source,
        path=path,
        sha256=hashlib.sha256(code).hexdigest(),
        server_hooks=hook_names(ServerHooks) & outline.functions,
        worker_hooks=hook_names(WorkerHooks) & outline.functions,
        defaults=outline.settings,
        problem=name_problem(name) or outline.find_problem(),
    )


@dataclass
class _Outline:
    """A module's top level: names of functions, imported packages, and the settings."""

    functions: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    settings: Mapping[str, Any] = field(default_factory=dict)
    settings_problem: str = ""

    @classmethod
    def read(cls, module: ast.Module) -> "_Outline":
        outline = cls()
        for statement in _top_level(module.body):
            outline._add(statement)
        return outline

    def _add(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.functions.add(name)
            case ast.Import(names=names):
                self.imports.update(one.name.partition(".")[0] for one in names)
            case ast.ImportFrom(module=module, names=names):
                self.imports.add((module or "").partition(".")[0])
                self.functions.update(one.asname or one.name for one in names)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                self.functions.add(name)
                if name == SETTINGS:
                    self._read_settings(value)

    def _read_settings(self, value: ast.expr) -> None:
        try:
            settings = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            settings = None
        if isinstance(settings, dict) and all(isinstance(key, str) for key in settings) and _is_plain(settings):
            self.settings = settings
        else:
            self.settings_problem = f"{SETTINGS} must be a table of names and plain values, as in {{'words': 'a, b'}}."

    def find_problem(self) -> str:
        server, worker = hook_names(ServerHooks), hook_names(WorkerHooks)
        known = server | worker
        for name in sorted(self.functions):
            if name.startswith(PREFIX) and name not in known:
                near = find_nearest(name, sorted(known))
                return f"There is no hook {name}.{f' Did you mean {near[0]}?' if near else ''}"
        if not self.functions & known:
            return "It has no hooks: define a function that is called as docs/plugins.md says, such as easel_prompt."
        heavy = sorted(self.imports & NOT_IN_SERVER)
        if self.functions & server and heavy:
            return (
                f"It imports {heavy[0]} at its top, which the server must not: import it inside the functions that run "
                "in the worker, or in a function for plugin.run_in_process."
            )
        return self.settings_problem


def _readable(file_name: str) -> str:
    """Without bytes that are no UTF-8."""
    return file_name.encode("utf-8", "replace").decode()


def _is_plain(value: object) -> bool:
    """Of a kind that a config file can have, too."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Also what stands under `if`, `try` and `with`."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _top_level(getattr(statement, name, ()))
        for handler in getattr(statement, "handlers", ()):
            yield from _top_level(handler.body)
