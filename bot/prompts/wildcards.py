"""Wildcards: `__animal__` in a prompt is replaced by a line of `wildcards/animal.txt` in the data directory.

The seed determines the line, so the same seed gives the same prompt. Names are only matched against the folder's
listing; input never becomes part of a path.
"""

import hashlib
import itertools
import math
import re
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.errors import InvalidOption
from bot.options import MAX_PROMPT, find_nearest
from bot.prompts.combinations import CHOICES, split_choices

FOLDER = "wildcards"
MAX_DRAWS = 64
"""Maximum number of draws per prompt, including wildcards in drawn lines."""
MAX_DEPTH = 8
"""Maximum nesting depth of wildcards in drawn lines."""
MAX_DRAWN = 10 * MAX_PROMPT
"""Characters of all the lines that are drawn for one prompt."""
MAX_BYTES = 2**20
"""Of a file."""
MAX_CACHED_BYTES = 32 * 2**20
"""Of the lines of all files that are kept in memory; others are read again when they are drawn from."""
MAX_FILES = 10_000
LISTING_VALID_S = 1.0
"""How long the listing of the folder is used: a new file is found after so long."""
LISTING_SHARE = 10
"""It is used at least so many times as long as listing took: of 10,000 files, that may be a second."""
_NAME = re.compile(r"__([A-Za-z0-9]+(?:[_\-/][A-Za-z0-9]+)*)__")
_SHOWN = 8
EXAMPLES = 3
"""Lines of a wildcard that its summary shows."""
MAX_EXAMPLE = 80
"""Characters of each."""

Lines = Callable[[str], Sequence[str]]
"""The lines of a wildcard by its name. Raises: InvalidOption."""


def has_wildcards(prompt: str) -> bool:
    return _NAME.search(prompt) is not None


def expand_wildcards(prompt: str, seed: int, lines: Lines, option: str = "prompt") -> str:
    """Replace each wildcard by a line; `{a|b}` in a line is drawn the same way.

    Raises: InvalidOption: a wildcard is unknown or empty, or they are nested too deeply.
    """
    return _Expansion(seed, lines, option).expand(prompt, 0)


class _Expansion:
    """The expansion of one prompt. Seed, n and the lines determine the n-th draw."""

    def __init__(self, seed: int, lines: Lines, option: str) -> None:
        self._seed, self._lines, self._option = seed, lines, option
        self._count = self._length = 0

    def expand(self, text: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise InvalidOption(self._option, "wildcards", allowed=str(MAX_DRAWS))
        return _NAME.sub(lambda found: self._draw_line(found[1], depth), text)

    def _draw_line(self, name: str, depth: int) -> str:
        lines = self._lines(name)
        if not lines:
            raise InvalidOption(self._option, "wildcard_empty", value=name)
        line = self._pick(lines)
        self._length += len(line)
        if self._length > MAX_DRAWN:
            raise InvalidOption(self._option, "long", value=self._length, allowed=str(2 * MAX_PROMPT))
        line = CHOICES.sub(lambda found: self._pick(split_choices(found)), line)
        return self.expand(line, depth + 1)

    def _pick(self, choices: Sequence[str]) -> str:
        self._count += 1
        if self._count > MAX_DRAWS:
            raise InvalidOption(self._option, "wildcards", allowed=str(MAX_DRAWS))
        digest = hashlib.sha256(f"{self._seed} {self._count}".encode()).digest()
        return choices[int.from_bytes(digest[:8]) % len(choices)]


class FileLines(Sequence[str]):
    """Lines in little more memory than their bytes: as strings, a file of short ones would take 20 times as much."""

    def __init__(self, lines: Iterable[str]) -> None:
        encoded = [line.encode() for line in lines]
        self._text = b"".join(encoded)
        self._starts = array("L", itertools.accumulate(map(len, encoded), initial=0))
        self.size_bytes = len(self._text) + len(self._starts) * self._starts.itemsize

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self._text[self._starts[number] : self._starts[number + 1]].decode()


@dataclass(frozen=True)
class WildcardSummary:
    """The first lines of a wildcard, and how many there are."""

    name: str
    lines: int
    examples: tuple[str, ...]


@dataclass
class WildcardFolder:
    """The `.txt` files below a folder, re-read when they change. Lines starting with `#` are comments."""

    folder: Path | None = None
    clock: Callable[[], float] = time.monotonic
    _cache: dict[Path, tuple[int, FileLines]] = field(default_factory=dict)
    _summaries: dict[Path, tuple[int, WildcardSummary]] = field(default_factory=dict)
    _listing: Mapping[str, Path] = field(default_factory=dict)
    _listed_until: float = -math.inf

    def list_names(self) -> list[str]:
        """Names of all wildcards; subfolders are separated by `/`."""
        return sorted(self._files())

    def read_lines(self, name: str, option: str = "prompt") -> Sequence[str]:
        """Raises: InvalidOption, with the most similar names."""
        files = self._files()
        path = files.get(name.casefold())
        if path is None:
            near = find_nearest(name.casefold(), files, _SHOWN, cutoff=0.5)
            shown = near or sorted(files)[:_SHOWN]
            problem = "wildcard" if shown else "no_wildcards"
            raise InvalidOption(option, problem, value=name, allowed=", ".join(f"__{one}__" for one in shown))
        return self._read_file(path)

    def _files(self) -> Mapping[str, Path]:
        started = self.clock()
        if started >= self._listed_until:
            self._listing = self._list_files()
            listed = self.clock()
            self._listed_until = listed + max(LISTING_VALID_S, LISTING_SHARE * (listed - started))
        return self._listing

    def _list_files(self) -> dict[str, Path]:
        if self.folder is None or not self.folder.is_dir():
            return {}
        found = {}
        for path in itertools.islice(self.folder.rglob("*.txt"), MAX_FILES):
            name = path.relative_to(self.folder).with_suffix("").as_posix().casefold()
            if path.is_file() and _NAME.fullmatch(f"__{name}__"):
                found[name] = path
        return found

    def describe(self, name: str) -> "WildcardSummary | None":
        """Of a name that was listed; None: there is no such file any more. It is read again when it changes."""
        path = self._listing.get(name)
        if path is None:
            return None
        try:
            about = path.stat()
        except OSError:
            return None
        known = self._summaries.get(path)
        if known is None or known[0] != about.st_mtime_ns:
            lines = self._read_file(path)
            examples = tuple(line[:MAX_EXAMPLE] for line in lines[:EXAMPLES])
            known = (about.st_mtime_ns, WildcardSummary(name, len(lines), examples))
            if len(self._summaries) >= MAX_FILES:
                self._summaries.clear()
            self._summaries[path] = known
        return known[1]

    def is_described(self, name: str) -> bool:
        """Whether `describe` need not read the file, unless it has changed."""
        return self._listing.get(name) in self._summaries

    def open(self) -> "WildcardReader":
        """What one request reads: each file once, so that all its prompts are drawn from the same lines."""
        return WildcardReader(self)

    def _read_file(self, path: Path) -> Sequence[str]:
        try:
            about = path.stat()
            cached = self._cache.get(path)
            if cached is None or cached[0] != about.st_mtime_ns:
                with path.open(encoding="utf-8-sig", errors="replace") as file:
                    text = file.read(MAX_BYTES)
                lines = (line.strip() for line in text.splitlines())
                cached = (about.st_mtime_ns, FileLines(line for line in lines if line and not line.startswith("#")))
                self._cache[path] = cached
                self._shrink_cache()
        except OSError:
            return []
        return cached[1]

    def _shrink_cache(self) -> None:
        size = sum(lines.size_bytes for _, lines in list(self._cache.values()))
        while size > MAX_CACHED_BYTES and self._cache:
            _, lines = self._cache.pop(next(iter(self._cache)), (0, FileLines(())))
            size -= lines.size_bytes


class WildcardReader:
    """The wildcards of one request, and the number of draws from them."""

    def __init__(self, folder: WildcardFolder) -> None:
        self._folder = folder
        self._lines: dict[str, Sequence[str]] = {}
        self.draws = 0

    def read_lines(self, name: str, option: str = "prompt") -> Sequence[str]:
        """The lines for one draw. Raises: InvalidOption."""
        self.draws += 1
        folded = name.casefold()
        if folded not in self._lines:
            self._lines[folded] = self._folder.read_lines(name, option)
        return self._lines[folded]
