"""The commands of docs/models.md about backends and `.gguf` files run as they are shown."""

import re
import shlex
from dataclasses import replace

import pytest

from composition.settings import ROOT
from inference.checkpoints.identify import identify_class, identify_path
from tests import model_manager_fixture as fixture
from tests.inference.gguf_files import header_bytes

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
SHOWN = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if re.match(r"easel models (optimize|add .*\.gguf)", line)
]
Z_IMAGE = {"layers.0.adaLN_modulation.0.weight": [8, 8]}


class GgufFiles(fixture.FakeFiles):
    async def identify(self, path):
        return identify_path(path)

    def identify_class(self, name):
        return identify_class(name)


class GgufHub(fixture.FakeHub):
    async def inspect_repo(self, ref):
        return replace(await super().inspect_repo(ref), prequantized="gguf", base_model="org/whole")


@pytest.fixture
def files(folder, monkeypatch):
    """What the commands name, in the current folder."""
    monkeypatch.setattr("bot.memory.format_check.has_gguf", lambda: True)
    monkeypatch.setattr(fixture, "FakeFiles", GgufFiles)
    monkeypatch.setattr(fixture, "FakeHub", GgufHub)
    for name in ("z-image-turbo-Q4_K_M.gguf", "tuned.gguf"):
        (folder / name).write_bytes(header_bytes(Z_IMAGE))


def test_the_page_shows_all_kinds():
    assert {"--backend", "--precision", "--weights", "--delete-builds", "--file", "--base-model"} <= {
        word for line in SHOWN for word in line.split()
    }


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_runs_as_it_is_shown(line, call, files, folder):
    here = line.replace("/models/", f"{folder}/").replace("starter-image", "paint")

    result = call(*shlex.split(here, comments=True)[1:])

    assert result.code == 0, result.err
    assert result.out.strip()
