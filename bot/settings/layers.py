"""Merges settings: files in order, then `EASEL_SECTION__KEY` variables.

Each value is checked where it is set, so every problem names its file or variable; all problems are reported together.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import ConfigError
from bot.runtime.update_journal import DELEGATED_BY
from bot.settings.places import DATA_DIR
from bot.settings.secrets import SECRETS, SECRETS_FILE
from bot.settings.values import SectionSchema, format_value, parse_free_text

PREFIX = "EASEL_"
MODELS = "models"
OTHER_VARIABLES = frozenset(
    {DATA_DIR, DELEGATED_BY, "EASEL_REQUIRE_BROWSER", *SECRETS, *(f"{variable}_FILE" for variable in SECRETS)},
)
"""Variables with our prefix that are not settings: data directory, lock, tests, and secrets."""
OTHER_PREFIXES = ("EASEL_TEST_", "EASEL_BENCH_")

_NAME = re.compile(r"[a-z0-9-]+")
_SECRET = re.compile(r"token|secret|passw", re.IGNORECASE)
"""Names of what must not be shown."""
_NAME_RULE = "a {what}'s name has only a to z, 0 to 9 and -."
_MAX_LISTED = 40


@dataclass(frozen=True)
class RenamedSetting:
    """A setting that was read by its old name. `source`: the file, or the variable."""

    source: str
    old: str
    new: str

    @property
    def sentence(self) -> str:
        where = "" if self.source == self.old else f"{self.source}: "
        return f"{where}{self.old} is now called {self.new}. The old name still works."


def read_settings(
    sections: Mapping[str, type],
    *,
    model_type: type,
    files: Sequence[Path],
    environ: Mapping[str, str],
    named: Mapping[str, type] | None = None,
    on_renamed: Callable[[RenamedSetting], None] = lambda _renamed: None,
) -> dict[str, Any]:
    """An instance of each section's dataclass, by section, and under `models` one `model_type` per model. `named` are
    further sections with one table per name, and the types of their tables.

    Numbers must not be negative, unless a class variable of the dataclass, `bounds = {"port": (0, 65535)}`, sets other
    limits (inclusive; None: unlimited). Models of a later layer come before those of earlier layers, so the owner's
    models are the first choice for a task.

    A class variable `has_tables = True` says that a section may have tables beside its keys, with values of any kind;
    the dataclass gets them, by name, through its method `with_tables`.

    A class variable `renamed = {"old_key": "new_key"}` keeps old names working; `on_renamed` is called once for each
    one found. A file, or the environment, that sets both names is refused.

    Raises: ConfigError with every problem found.
    """
    reader = _Reader(sections, {MODELS: model_type, **(named or {})}, on_renamed)
    for path in files:
        reader.read_file(path)
    reader.read_environ(environ)
    return reader.build()


def log_renamed_settings(renamed: Iterable[RenamedSetting]) -> None:
    """Warn of each setting that was read by an old name. Call it once, after logging is set up."""
    import structlog

    log = structlog.get_logger(__name__)
    for one in dict.fromkeys(renamed):
        log.warning(
            "a setting has a new name", action="setting_renamed", source=one.source, old_name=one.old, new_name=one.new
        )


class _Reader:
    """Collects checked values by table, and problems as complete lines."""

    def __init__(
        self,
        sections: Mapping[str, type],
        named: Mapping[str, type],
        on_renamed: Callable[[RenamedSetting], None],
    ) -> None:
        self._shapes = {name: SectionSchema(kind) for name, kind in sections.items()}
        self._named = {section: SectionSchema(kind) for section, kind in named.items()}
        self._values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        self._tables: dict[str, dict[str, dict[str, Any]]] = {section: {} for section in named}
        """By section, then by name."""
        self._open_tables: dict[str, dict[str, dict[str, Any]]] = {
            name: {} for name, shape in self._shapes.items() if getattr(shape.kind, "has_tables", False)
        }
        """Of sections that have tables beside their keys."""
        self._sources: dict[tuple[str, str], str] = {}
        self._problems: list[str] = []
        self._on_renamed = on_renamed

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
                if section in self._open_tables and isinstance(table, dict):
                    table = self._read_open_tables(str(path), section, table)
                self._read_table(str(path), section, table, self._shapes[section], self._values[section])
            elif section in self._named:
                self._problems.append(
                    f"{path}: {section} must be a section: write [{section}.NAME] and its keys below it."
                )
            else:
                what = f"there is no section [{section}]" if isinstance(table, dict) else f"{section} is in no section"
                self._unknown(str(path), what, section, [*self._shapes, *self._named])

    def _parse(self, path: Path) -> dict[str, Any]:
        text = ""
        try:
            text = path.read_text(encoding="utf-8-sig")
            return tomllib.loads(f"{text}\n")  # without a final newline, an error at the end has no line number
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

    def _read_table(self, source: str, section: str, table: Any, shape: SectionSchema, into: dict[str, Any]) -> None:
        if not isinstance(table, dict):
            self._problems.append(f"{source}: {section} must be a section: write [{section}] and its keys below it.")
            return
        for written, value in table.items():
            key = shape.renamed.get(written, written)
            if key not in shape.hints:
                self._unknown(source, f"{section} has no key {key}", key, shape.hints)
                continue
            if key != written:
                renamed = RenamedSetting(source, f"{section}.{written}", f"{section}.{key}")
                self._accept_old_name(renamed, f"{source}: ", is_new_set=key in table)
            try:
                into[key] = shape.parse_value(key, value)
            except ValueError:
                shown = "" if _SECRET.search(key) else f" is {format_value(value)}, but"
                allowed = shape.describe_allowed(key)
                self._problems.append(f"{source}: {section}.{written}{shown} must be {allowed}.")

    def _accept_old_name(self, renamed: RenamedSetting, where: str, *, is_new_set: bool) -> None:
        if is_new_set:
            both = f"{renamed.old} is the old name of {renamed.new}, which is also set"
            self._problems.append(f"{where}{both}: delete {renamed.old}.")
        else:
            self._on_renamed(renamed)

    def _read_open_tables(self, source: str, section: str, table: dict[str, Any]) -> dict[str, Any]:
        """The table's other values."""
        known = self._shapes[section].hints
        inner = {name: one for name, one in table.items() if isinstance(one, dict) and name not in known}
        for name, values in inner.items():
            if _NAME.fullmatch(name):
                self._open_tables[section].setdefault(name, {}).update(values)
            else:
                self._problems.append(f"{source}: {section}.{name}: {_NAME_RULE.format(what=section[:-1])}")
        return {name: one for name, one in table.items() if name not in inner}

    def _read_named(self, source: str, section: str, name: str, values: Any, fresh: dict[str, dict[str, Any]]) -> None:
        if not _NAME.fullmatch(name):
            what = section.removesuffix("s")
            self._problems.append(f"{source}: {section}.{name}: {_NAME_RULE.format(what=what)}")
            return
        known = self._tables[section].get(name)
        into: dict[str, Any] = {} if known is None else known
        self._read_table(source, f"{section}.{name}", values, self._named[section], into)
        if known is None and isinstance(values, dict):
            fresh[name] = into
            self._sources[section, name] = source

    # ------------------------------------------------------------ variables

    def read_environ(self, environ: Mapping[str, str]) -> None:
        for variable in sorted(environ):
            ours = variable.startswith(PREFIX) and variable not in OTHER_VARIABLES
            if ours and not variable.startswith(OTHER_PREFIXES):
                self._read_variable(variable, environ)

    def _read_variable(self, variable: str, environ: Mapping[str, str]) -> None:
        parts = variable.removeprefix(PREFIX).lower().split("__")
        name = parts[1].replace("_", "-") if len(parts) == 3 else ""
        if parts[0] in self._named and _NAME.fullmatch(name):
            section, tables = parts[0], self._tables[parts[0]]
            if name not in tables:
                self._tables[section] = tables = {name: {}, **tables}
            self._sources.setdefault((section, name), variable)
            self._set_from_variable(variable, environ, self._named[section], parts[2], tables[name])
        elif parts[0] in self._open_tables and _NAME.fullmatch(name):
            self._open_tables[parts[0]].setdefault(name, {})[parts[2]] = parse_free_text(environ[variable])
        elif parts[0] in self._shapes and len(parts) == 2:
            self._set_from_variable(variable, environ, self._shapes[parts[0]], parts[1], self._values[parts[0]])
        else:
            self._unknown(variable, "no setting has this name", variable, self._variables())

    def _set_from_variable(
        self, variable: str, environ: Mapping[str, str], shape: SectionSchema, written: str, into: dict[str, Any]
    ) -> None:
        prefix = variable[: len(variable) - len(written)]
        key = shape.renamed.get(written, written)
        if key not in shape.hints:
            self._unknown(variable, "no setting has this name", variable, [prefix + one.upper() for one in shape.hints])
            return
        if key != written:
            new = prefix + key.upper()
            self._accept_old_name(RenamedSetting(variable, variable, new), "", is_new_set=new in environ)
        try:
            into[key] = shape.parse_text(key, environ[variable])
        except ValueError:
            self._problems.append(
                f"{variable} is {format_value(environ[variable])}, but must be {shape.describe_allowed(key)}."
            )

    def _variables(self) -> list[str]:
        tables = list(self._shapes.items())
        for section, named in self._tables.items():
            tables += [(f"{section}__{name.replace('-', '_')}", self._named[section]) for name in named or ("name",)]
        return [f"{PREFIX}{table}__{key}".upper() for table, shape in tables for key in shape.hints]

    # ------------------------------------------------------------ result

    def build(self) -> dict[str, Any]:
        self._check_missing()
        if self._problems:
            raise ConfigError(self._problems)
        built: dict[str, Any] = {name: shape.kind(**self._values[name]) for name, shape in self._shapes.items()}
        for section, open_tables in self._open_tables.items():
            built[section] = built[section].with_tables(open_tables)
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
        """Report an unknown name with the most similar known one, and all known ones, or the sections if there are
        many."""
        known = list(known)
        near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        if _SECRET.search(name):
            hint = f" Tokens are not settings: set {', '.join(SECRETS)} in the environment or in {SECRETS_FILE}."
        if len(known) > _MAX_LISTED:
            listed = f"Sections: {', '.join([*self._shapes, *self._named])}"
        else:
            listed = f"Known: {', '.join(known)}"
        self._problems.append(f"{source}: {what}.{hint} {listed}.")
