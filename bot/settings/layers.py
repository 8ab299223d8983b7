"""Puts settings together: files in order, then `EASEL_SECTION__KEY` variables.

Every value is checked where it stands, so that each problem names its own file or variable; all are told at once.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.errors import ConfigError
from bot.runtime.update_journal import LENT_BY
from bot.settings.places import DATA_DIR
from bot.settings.secrets import SECRETS, SECRETS_FILE
from bot.settings.values import Shape, show

PREFIX = "EASEL_"
MODELS = "models"
OTHER_VARIABLES = frozenset(
    {DATA_DIR, LENT_BY, "EASEL_REQUIRE_BROWSER", *SECRETS, *(f"{variable}_FILE" for variable in SECRETS)},
)
"""Variables with our prefix that are no settings: data, its lock, tests, and secrets."""
OTHER_PREFIXES = ("EASEL_TEST_", "EASEL_BENCH_")

_NAME = re.compile(r"[a-z0-9-]+")
_MANY = 40


def read_settings(
    sections: Mapping[str, type],
    *,
    model_type: type,
    files: Sequence[Path],
    environ: Mapping[str, str],
    named: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """An instance of each section's dataclass, by section, and under `models` one `model_type` per model. `named`:
    further sections like `models`, and the type of what they hold.

    A number may not be negative, unless the dataclass says otherwise in a class variable
    `bounds = {"port": (0, 65535)}` (inclusive; None: no bound). A model that a later layer adds comes before those of
    earlier layers, so the owner's own are the first that a task finds.

    Raises: ConfigError with every problem found.
    """
    reader = _Reader(sections, {MODELS: model_type, **(named or {})})
    for path in files:
        reader.read_file(path)
    reader.read_environ(environ)
    return reader.build()


class _Reader:
    """Gathers checked values by table, `[section]` or `[models.NAME]` and its like, and problems as ready lines."""

    def __init__(self, sections: Mapping[str, type], named: Mapping[str, type]) -> None:
        self._shapes = {name: Shape(kind) for name, kind in sections.items()}
        self._named = {section: Shape(kind) for section, kind in named.items()}
        self._values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        self._tables: dict[str, dict[str, dict[str, Any]]] = {section: {} for section in named}
        """By section, then by name."""
        self._sources: dict[tuple[str, str], str] = {}
        self._problems: list[str] = []

    # ------------------------------------------------------------ files

    def read_file(self, path: Path) -> None:
        tables = self._parse(path)
        for section, table in tables.items():
            if section in self._named and isinstance(table, dict):
                fresh: dict[str, dict[str, Any]] = {}
                for name, values in table.items():
                    self._read_named(str(path), section, name, values, fresh)
                self._tables[section] = fresh | self._tables[section]
            elif section in self._shapes:
                self._read_table(str(path), section, table, self._shapes[section], self._values[section])
            else:
                what = f"there is no section [{section}]" if isinstance(table, dict) else f"{section} is in no section"
                self._unknown(str(path), what, section, [*self._shapes, *self._named])

    def _parse(self, path: Path) -> dict[str, Any]:
        text = ""
        try:
            text = path.read_text(encoding="utf-8-sig")
            return tomllib.loads(f"{text}\n")  # without the new line, an error at the end has no line number
        except FileNotFoundError:
            self._problems.append(f"{path}: there is no such file.")
        except UnicodeDecodeError:
            self._problems.append(f"{path}: this is not UTF-8 text: save it as UTF-8.")
        except OSError as error:
            self._problems.append(f"{path}: this cannot be read ({error.strerror or error}).")
        except tomllib.TOMLDecodeError as error:
            what, _, where = str(error).rstrip(")").partition(" (at ")
            where = where if where.startswith("line") else f"line {len(text.splitlines())}"
            self._problems.append(f"{path}: {where}: this is not TOML: {what[:1].lower()}{what[1:]}.")
        return {}

    def _read_table(self, source: str, section: str, table: Any, shape: Shape, into: dict[str, Any]) -> None:
        if not isinstance(table, dict):
            self._problems.append(f"{source}: {section} must be a section: write [{section}] and its keys below it.")
            return
        for key, value in table.items():
            if key not in shape.hints:
                self._unknown(source, f"{section} has no key {key}", key, shape.hints)
                continue
            try:
                into[key] = shape.read(key, value)
            except ValueError:
                self._problems.append(f"{source}: {section}.{key} is {show(value)}, but must be {shape.allowed(key)}.")

    def _read_named(self, source: str, section: str, name: str, values: Any, fresh: dict[str, dict[str, Any]]) -> None:
        if not _NAME.fullmatch(name):
            what = section.removesuffix("s")
            self._problems.append(f"{source}: {section}.{name}: a {what}'s name has only a to z, 0 to 9 and -.")
            return
        known = self._tables[section].get(name)
        into: dict[str, Any] = {} if known is None else known
        self._read_table(source, f"{section}.{name}", values, self._named[section], into)
        if known is None and isinstance(values, dict):
            fresh[name] = into
            self._sources[section, name] = source

    # ------------------------------------------------------------ variables

    def read_environ(self, environ: Mapping[str, str]) -> None:
        for variable, text in sorted(environ.items()):
            ours = variable.startswith(PREFIX) and variable not in OTHER_VARIABLES
            if ours and not variable.startswith(OTHER_PREFIXES):
                self._read_variable(variable, text)

    def _read_variable(self, variable: str, text: str) -> None:
        parts = variable.removeprefix(PREFIX).lower().split("__")
        name = parts[1].replace("_", "-") if len(parts) == 3 else ""
        if parts[0] in self._named and _NAME.fullmatch(name):
            section, tables = parts[0], self._tables[parts[0]]
            if name not in tables:
                self._tables[section] = tables = {name: {}, **tables}
            self._sources.setdefault((section, name), variable)
            self._take(variable, text, self._named[section], parts[2], tables[name])
        elif parts[0] in self._shapes and len(parts) == 2:
            self._take(variable, text, self._shapes[parts[0]], parts[1], self._values[parts[0]])
        else:
            self._unknown(variable, "no setting has this name", variable, self._variables())

    def _take(self, variable: str, text: str, shape: Shape, key: str, into: dict[str, Any]) -> None:
        if key not in shape.hints:
            start = variable[: len(variable) - len(key)]
            self._unknown(variable, "no setting has this name", variable, [start + one.upper() for one in shape.hints])
            return
        try:
            into[key] = shape.read_text(key, text)
        except ValueError:
            self._problems.append(f"{variable} is {show(text)}, but must be {shape.allowed(key)}.")

    def _variables(self) -> list[str]:
        tables = list(self._shapes.items())
        for section, named in self._tables.items():
            tables += [(f"{section}__{name.replace('-', '_')}", self._named[section]) for name in named or ("name",)]
        return [f"{PREFIX}{table}__{key}".upper() for table, shape in tables for key in shape.hints]

    # ------------------------------------------------------------ the end

    def build(self) -> dict[str, Any]:
        self._check_missing()
        if self._problems:
            raise ConfigError(self._problems)
        built: dict[str, Any] = {name: shape.kind(**self._values[name]) for name, shape in self._shapes.items()}
        for section, tables in self._tables.items():
            built[section] = {name: self._named[section].kind(**values) for name, values in tables.items()}
        return built

    def _check_missing(self) -> None:
        tables = [(name, shape, self._values[name], "") for name, shape in self._shapes.items()]
        for group, named in self._tables.items():
            sources = self._sources
            tables += [(f"{group}.{n}", self._named[group], values, sources[group, n]) for n, values in named.items()]
        for section, shape, values, source in tables:
            lacking = [key for key in shape.required if key not in values]
            named_wrong = any(f"{section}.{key}" in line for key in lacking for line in self._problems)
            if lacking and not named_wrong:
                where = f"{source}: " if source else ""
                group, _, named_as = section.partition(".")
                others = [name for name in self._tables.get(group, ()) if name != named_as]
                near = difflib.get_close_matches(named_as, others, 1)
                hint = f" Did you mean {group}.{near[0]}?" if near else ""
                self._problems.append(f"{where}{section} lacks {', '.join(lacking)}.{hint}")

    def _unknown(self, source: str, what: str, name: str, known: Iterable[str]) -> None:
        """A name nobody knows: the nearest known one, and all of them, or the sections when they are many."""
        known = list(known)
        near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        if re.search(r"token|secret|passw", name, re.IGNORECASE):
            hint = f" Tokens are no settings: set {', '.join(SECRETS)} in the environment or in {SECRETS_FILE}."
        if len(known) > _MANY:
            listed = f"Sections: {', '.join([*self._shapes, *self._named])}"
        else:
            listed = f"Known: {', '.join(known)}"
        self._problems.append(f"{source}: {what}.{hint} {listed}.")
