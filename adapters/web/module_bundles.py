"""Joins the ES modules of one folder into one module when the server starts, so that a page needs few requests.

Each module becomes a function of its own, so private names never clash, and every module runs once. The modules are
written in a subset of ES modules that this file can read without a parser: named imports with relative addresses,
exports of `function`, `class` and `const`, lists of exports, and `import("./module.js")`.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import StartupError

_IMPORT = re.compile(r'\bimport\s*\{([^}]*)\}\s*from\s*"(\.[^"]+)";?')
_REEXPORT = re.compile(r'\bexport\s*\{([^}]*)\}\s*from\s*"(\.[^"]+)";?')
_EXPORTS = re.compile(r"\bexport\s*\{([^}]*)\};?")
_DECLARATION = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const)\s+([A-Za-z_$][\w$]*))", re.M)
_DYNAMIC = re.compile(r'\bimport\("(\.[^"]+)"\)')
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$|(?<=;)//# sourceMappingURL=.*$", re.M)
_COMMENTS = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/[ \t]*$\n?|//[^\n]*$\n?)", re.M | re.S)
_CASTS = re.compile(r"/\*\* @type \{[^}\n]*\} \*/ (?=\()")
_INDENT = re.compile(r"^[ \t]+|\n(?=\n)", re.M)
_UNREAD = re.compile(r"^(?:import|export)\b.*", re.M)


@dataclass(frozen=True)
class Bundle:
    """`folders` are the folders whose modules it joins, in `name`.js."""

    name: str
    folders: Sequence[str]


@dataclass
class _Module:
    path: str
    body: str
    imports: list[tuple[str, str]]
    """(names, path of the module)."""
    exports: dict[str, str]
    """Exported name -> expression."""


def join_modules(sources: Mapping[str, str], bundles: Sequence[Bundle]) -> dict[str, str]:
    """The text of each bundle by its file name. `sources`: module texts by path ("core/api.js").

    Raises: StartupError: a module uses what cannot be joined, or folders import one another.
    """
    bundle_of = {folder: bundle.name for bundle in bundles for folder in bundle.folders}
    modules = {path: _read_module(path, text, bundle_of) for path, text in sources.items()}
    _refuse_cycles(modules, bundle_of)
    return {f"{bundle.name}.js": _join(bundle, modules, bundle_of) for bundle in bundles}


def _read_module(path: str, text: str, bundle_of: Mapping[str, str]) -> _Module:
    module = _Module(path, _SOURCE_MAP.sub("", text) if path.startswith("vendor/") else strip(text), [], {})

    def take_import(match: re.Match[str]) -> str:
        module.imports.append((match[1], _resolve(path, match[2])))
        return ""

    def take_reexport(match: re.Match[str]) -> str:
        module.imports.append(("", _resolve(path, match[2])))
        for local, exported in _pairs(match[1]):
            module.exports[exported] = f"{_variable(_resolve(path, match[2]))}.{local}"
        return ""

    def take_exports(match: re.Match[str]) -> str:
        module.exports |= {exported: local for local, exported in _pairs(match[1])}
        return ""

    def take_declaration(match: re.Match[str]) -> str:
        module.exports[match[1]] = match[1]
        return ""

    for pattern, take in (
        (_IMPORT, take_import), (_REEXPORT, take_reexport), (_EXPORTS, take_exports), (_DECLARATION, take_declaration),
    ):  # fmt: skip
        module.body = pattern.sub(take, module.body)
    if left := _UNREAD.search(module.body):
        raise StartupError(f"The page's module {path} cannot be joined with others: {left[0]}")
    module.body = _DYNAMIC.sub(
        lambda match: f'import("./{_bundle(_resolve(path, match[1]), bundle_of)}.js")', module.body
    )
    return module


def strip(text: str) -> str:
    """Without casts, full-line comments, indentation and empty lines, which make up a third of a compressed file."""
    return _INDENT.sub("", _CASTS.sub("", _COMMENTS.sub("", text))).lstrip("\n")


def _resolve(path: str, address: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), address))


def _bundle(path: str, bundle_of: Mapping[str, str]) -> str:
    """The bundle of a module; that of a folder without modules is named after it, and does not exist."""
    folder = path.partition("/")[0]
    return bundle_of.get(folder, folder)


def _pairs(names: str) -> list[tuple[str, str]]:
    """("a as b, c") -> [("a", "b"), ("c", "c")]"""
    parts = [name.split() for name in names.split(",") if name.strip()]
    return [(words[0], words[-1]) for words in parts]


def _variable(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))


def _join(bundle: Bundle, modules: Mapping[str, _Module], bundle_of: Mapping[str, str]) -> str:
    own = {path: module for path, module in modules.items() if bundle_of.get(path.partition("/")[0]) == bundle.name}
    foreign = sorted(
        {_bundle(source, bundle_of) for module in own.values() for _, source in module.imports} - {bundle.name}
    )
    lines = [f'import * as $$_{name} from "./{name}.js";' for name in foreign]
    exported: dict[str, str] = {}
    for module in _sort(own):
        lines.append(_wrap(module, bundle, modules, bundle_of))
        if module.path.startswith("vendor/"):
            continue  # their names are exported by the module of ours that imports them
        for name in module.exports:
            if name in exported:
                raise StartupError(
                    f"Two modules of {bundle.name}.js export {name}: {exported[name]} and {module.path}."
                )
            exported[name] = module.path
        if module.exports:
            lines.append(f"export const {{ {', '.join(module.exports)} }} = {_variable(module.path)};")
    return "\n".join(lines) + "\n"


def _wrap(module: _Module, bundle: Bundle, modules: Mapping[str, _Module], bundle_of: Mapping[str, str]) -> str:
    imported = []
    for names, source in module.imports:
        if source not in modules:
            raise StartupError(f"The page's module {module.path} imports {source}, which does not exist.")
        name = _bundle(source, bundle_of)
        for local, _exported in _pairs(names):
            if local not in modules[source].exports:
                raise StartupError(
                    f"The page's module {module.path} imports {local}, but {source} exports no such name."
                )
        bound = ", ".join(f"{local}: {alias}" if local != alias else local for local, alias in _pairs(names))
        if bound:
            imported.append(f"const {{ {bound} }} = {_variable(source) if name == bundle.name else f'$$_{name}'};")
    returned = ", ".join(f"{name}: {value}" if name != value else name for name, value in module.exports.items())
    return "\n".join(
        [
            f"const {_variable(module.path)} = (() => {{ // {module.path}",
            *imported,
            module.body.strip(),
            f"return {{ {returned} }};",
            "})();",
        ]
    )


def _refuse_cycles(modules: Mapping[str, _Module], bundle_of: Mapping[str, str]) -> None:
    """Bundles that import one another would run before what they need. Raises: StartupError."""
    edges = {
        (_bundle(module.path, bundle_of), _bundle(source, bundle_of))
        for module in modules.values()
        for _, source in module.imports
    }
    for one, other in sorted(edges):
        if one != other and (other, one) in edges:
            raise StartupError(f"The page's modules {one}.js and {other}.js import one another.")


def _sort(modules: Mapping[str, _Module]) -> list[_Module]:
    """Every module after those that it imports. Raises: StartupError: a cycle."""
    ordered: dict[str, _Module] = {}
    visiting: list[str] = []

    def place(path: str) -> None:
        if path in ordered or path not in modules:
            return
        if path in visiting:
            raise StartupError(f"The page's modules import one another: {' -> '.join([*visiting, path])}.")
        visiting.append(path)
        for _, source in modules[path].imports:
            place(source)
        visiting.pop()
        ordered[path] = modules[path]

    for path in sorted(modules):
        place(path)
    return list(ordered.values())
