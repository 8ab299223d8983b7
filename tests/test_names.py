"""Names: standard terms, each used for one thing. ADR 0005 says why."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from composition.settings import ROOT

PACKAGES = ("adapters", "bot", "composition", "inference", "storage", "training")
SOURCES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
UNNAMED = {"__init__", "__main__"}

REPEATED_BASENAMES = {
    "bot": {"jobs", "media", "people"},
    "inference": {"engine", "loader", "sequence", "worker"},
}
"""Only ever shortened. Use cases and ports are named after what they are about; engines, loaders, sequences and child
processes exist once for each kind."""
REPEATED_CLASSES: set[str] = set()
"""Only ever shortened."""
MAX_TOP_LEVEL = {"inference": 19, "bot": 22}
RETIRED = frozenset((
    "aside", "beat", "chore", "chores", "deed", "deeds", "desk", "eyes", "foresee", "frugal", "hear", "heard",
    "hears", "house", "houses", "kin", "lonely", "looks", "mend", "mended", "owed", "past", "residence",
    "room", "rooms", "said", "say", "says", "seat", "seating", "shelf", "speaker", "stumbled", "tale", "talk",
    "talking", "tell", "teller", "tells", "told", "town", "turns", "verbs", "victim", "visit", "whoever",
    "wish", "wished", "wishes", "worn",
))  # fmt: skip
"""Private metaphors: the standard terms that replaced them are in ARCHITECTURE.md's glossary."""


DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def definitions_in(path: Path) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Its classes and functions, at any depth."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, DEFINITIONS)]


def package_of(path: Path) -> str:
    """Each platform is a package of its own."""
    return ".".join(path.parts[:2]) if path.parts[0] == "adapters" and len(path.parts) > 2 else path.parts[0]


def words_in(name: str) -> set[str]:
    """`PictureService` -> picture, service; `_is_open` -> is, open."""
    return {word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in(path: Path):
    """The module, its classes, and their public functions."""
    yield path.stem if path.stem not in UNNAMED else path.parent.name
    for node in definitions_in(path):
        if isinstance(node, ast.ClassDef) or not node.name.startswith("_"):
            yield node.name


def test_a_basename_is_used_once_in_a_package():
    names = Counter((package_of(path), path.stem) for path in SOURCES if path.stem not in UNNAMED)
    repeated: dict[str, set[str]] = {}
    for (package, name), count in names.items():
        if count > 1:
            repeated.setdefault(package, set()).add(name)

    assert repeated == REPEATED_BASENAMES


def test_a_class_name_is_used_once():
    names = Counter(node.name for path in SOURCES for node in definitions_in(path) if isinstance(node, ast.ClassDef))

    assert {name for name, count in names.items() if count > 1} == REPEATED_CLASSES


@pytest.mark.parametrize(("package", "limit"), MAX_TOP_LEVEL.items())
def test_the_top_level_of_a_package_stays_small(package, limit):
    entries = [
        path
        for path in (ROOT / package).iterdir()
        if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").exists())
    ]

    assert len(entries) <= limit


def test_no_name_uses_a_retired_word():
    found = [(str(path), name) for path in SOURCES for name in names_in(path) if words_in(name) & RETIRED]

    assert found == []


def test_main_only_hands_over():
    assert len((ROOT / "main.py").read_text(encoding="utf-8").splitlines()) <= 60
