"""ARCHITECTURE.md names only what exists; links in all documents lead to pages and headings that exist."""

import re
from pathlib import Path

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


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("models/*/*.md")]


def read_anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    broken = []
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        is_there = target.exists() and (not anchor or target.suffix != ".md" or anchor in read_anchors(target))
        broken += [] if is_there else [f"{path}#{anchor}"]

    assert broken == []
