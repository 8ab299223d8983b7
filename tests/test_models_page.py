"""docs/models.md says what config.toml, pyproject.toml and the code say."""

import inspect
import re
import tomllib

import pytest

from bot.memory.weights import FORMATS
from composition.settings import ROOT, shipped_models
from inference.checkpoints import gguf_layout

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
REPO = re.compile(r"[\w.-]+/[\w.-]+")
RESTRICTED = re.compile("non-commercial|not for commercial use|check the card")


def read_table(heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by the name in their first column."""
    text = PAGE.partition(f"\n{heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None, heading
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[0].splitlines()[2:]]
    return {cells[0].strip("`").removesuffix("` (default)"): cells for cells in rows}


LISTED = read_table("## Presets")
PRESETS = {name: spec for name, spec in shipped_models().items() if not spec.enabled}


def test_each_preset_is_listed():
    assert set(LISTED) == set(PRESETS)


@pytest.mark.parametrize("name", LISTED)
def test_a_preset_is_listed_with_its_settings(name):
    spec, (_, purpose, download, licence) = PRESETS[name], LISTED[name]
    size_mb = spec.download_mb

    assert download == (f"{size_mb / 1024:.1f} GiB" if size_mb >= 1024 else f"{size_mb} MiB")
    assert bool(RESTRICTED.search(licence)) is not spec.commercial
    assert re.findall(r"(\d+) steps", purpose) in ([], [str(spec.steps)])
    assert re.findall(r"(\d+) px", purpose) in ([], [str(spec.width)])


def test_each_extra_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(read_table("## Extras")) == set(project["optional-dependencies"])


def test_each_format_is_listed():
    assert set(read_table("## Formats")) == {"auto", "none", *FORMATS}


def test_each_base_model_of_a_gguf_file_is_listed():
    listed = {repo for cells in read_table("### GGUF files").values() for repo in re.findall("`(.+?)`", cells[1])}
    code = inspect.getsource(gguf_layout)

    assert listed == {text for text in re.findall('"(.+?)"', code) if REPO.fullmatch(text)}
