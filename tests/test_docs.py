"""ARCHITECTURE.md names only what exists."""

import re

import pytest

from composition.settings import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CODE = [path for folder in ("adapters", "bot", "composition", "inference", "storage", "training", "tests", "models")
        for path in (ROOT / folder).rglob("*")]  # fmt: skip
PATHS = sorted({name for name in re.findall(r"`([\w./-]+)`", PAGE) if name.endswith((".py", "/")) or "/" in name[1:]})
NAMES = sorted(set(re.findall(r"`(?:\w+\.)*([A-Z]\w+|[a-z]+_\w+)(?:\(\))?`", PAGE)))
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in CODE if path.suffix in (".py", ".js"))


@pytest.mark.parametrize("name", PATHS)
def test_every_path_in_the_architecture_exists(name):
    written = name.rstrip("/").replace("LANGUAGE/LC_MESSAGES/easel.po", "")

    assert any(path.as_posix().endswith(f"/{written.strip('/')}") for path in CODE) or (ROOT / written).exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_the_architecture_is_in_the_code(name):
    assert re.search(rf"\b{name}\b", TEXT)
