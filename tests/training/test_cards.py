"""The code on each model card runs as typed, with the shipped weights, and prints what the card says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
CARDS = sorted(card.parent.name for card in MODELS.glob("*/README.md"))


def code_of(name: str) -> str:
    """The card's Python blocks, in order."""
    card = (MODELS / name / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL))


def test_every_shipped_model_has_a_card_with_code():
    assert sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir()) == CARDS
    assert all(map(code_of, CARDS))


@pytest.mark.parametrize("name", CARDS)
def test_the_code_of_a_card_runs_as_typed(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "models").symlink_to(MODELS, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    code = code_of(name)

    exec(compile(code, f"models/{name}/README.md", "exec"), {})

    promised = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised
    assert promised or [*tmp_path.glob("*.png")], "the code shows a result"
