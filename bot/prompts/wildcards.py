"""Wildcards: `__animal__` in a prompt is one line of `wildcards/animal.txt` in the data directory.

Which one, the seed says, so that the same seed gives the same prompt. Names come from listing the folder and nothing
else: what a person writes is never made into a path.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.errors import InvalidOption

FOLDER = "wildcards"
MOST_DRAWN = 64
"""Wildcards that one prompt may draw, those of drawn lines among them."""
MAX_DEPTH = 8
"""How deep a drawn line may name wildcards again."""
MAX_BYTES = 2**20
_NAME = re.compile(r"__([A-Za-z0-9]+(?:[_\-/][A-Za-z0-9]+)*)__")
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_SHOWN = 8

Lines = Callable[[str], Sequence[str]]
"""The lines of a wildcard by its name. Raises: InvalidOption."""


def has_wildcards(prompt: str) -> bool:
    return _NAME.search(prompt) is not None


def drawn(prompt: str, seed: int, lines: Lines, option: str = "prompt") -> str:
    """The prompt with a line in place of each wildcard; `{a|b}` in a line is drawn likewise.

    Raises: InvalidOption: a wildcard is unknown or empty, or they go on for ever.
    """
    return _Draw(seed, lines, option).expand(prompt, 0)


class _Draw:
    """One prompt's drawing. The n-th draw is the same whenever seed, n and the lines are."""

    def __init__(self, seed: int, lines: Lines, option: str) -> None:
        self._seed, self._lines, self._option = seed, lines, option
        self._count = 0

    def expand(self, text: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise InvalidOption(self._option, "wildcards", allowed=str(MOST_DRAWN))
        return _NAME.sub(lambda found: self._line(found[1], depth), text)

    def _line(self, name: str, depth: int) -> str:
        lines = self._lines(name)
        if not lines:
            raise InvalidOption(self._option, "wildcard_empty", value=name)
        line = self._pick(lines)
        line = _CHOICE.sub(lambda found: self._pick(found[1].split("|")).strip(), line)
        return self.expand(line, depth + 1)

    def _pick(self, among: Sequence[str]) -> str:
        self._count += 1
        if self._count > MOST_DRAWN:
            raise InvalidOption(self._option, "wildcards", allowed=str(MOST_DRAWN))
        digest = hashlib.sha256(f"{self._seed} {self._count}".encode()).digest()
        return among[int.from_bytes(digest[:8]) % len(among)]


@dataclass
class WildcardFolder:
    """The `.txt` files below a folder, read again when they change. A line that begins with `#` is a comment."""

    folder: Path | None = None
    _kept: dict[Path, tuple[int, list[str]]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """With `/` between a folder and a file in it."""
        return sorted(self._files())

    def lines(self, name: str, option: str = "prompt") -> Sequence[str]:
        """Raises: InvalidOption, with the names nearest to one that there is not."""
        files = self._files()
        path = files.get(name.casefold())
        if path is None:
            near = difflib.get_close_matches(name.casefold(), files, _SHOWN, cutoff=0.5)
            shown = near or sorted(files)[:_SHOWN]
            problem = "wildcard" if shown else "no_wildcards"
            raise InvalidOption(option, problem, value=name, allowed=", ".join(f"__{one}__" for one in shown))
        return self._read(path)

    def _files(self) -> dict[str, Path]:
        if self.folder is None or not self.folder.is_dir():
            return {}
        found = {}
        for path in self.folder.rglob("*.txt"):
            name = path.relative_to(self.folder).with_suffix("").as_posix().casefold()
            if path.is_file() and _NAME.fullmatch(f"__{name}__"):
                found[name] = path
        return found

    def _read(self, path: Path) -> list[str]:
        try:
            about = path.stat()
            kept = self._kept.get(path)
            if kept is None or kept[0] != about.st_mtime_ns:
                with path.open(encoding="utf-8-sig", errors="replace") as file:
                    text = file.read(MAX_BYTES)
                lines = [line.strip() for line in text.splitlines()]
                kept = (about.st_mtime_ns, [line for line in lines if line and not line.startswith("#")])
                self._kept[path] = kept
        except OSError:
            return []
        return kept[1]
