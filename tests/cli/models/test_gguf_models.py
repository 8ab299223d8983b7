"""What `doctor` says of `.gguf` files, whose other components are in a base model."""

import pytest

from adapters.cli.models.inspect import check_model
from tests.fakes import make_model
from tests.inference.gguf_files import header_bytes


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "z.gguf"
    path.write_bytes(header_bytes({"layers.0.adaLN_modulation.0.weight": [128, 32]}))
    return path


def test_a_gguf_file_with_its_base_model_is_fine(path, tmp_path):
    (tmp_path / "base").mkdir()

    mark, sentence = check_model(make_model(name="z", repo=str(path), base_model=str(tmp_path / "base")), tmp_path)

    assert mark == "ok"
    assert str(path) in sentence


@pytest.mark.parametrize(
    ("base", "is_damaged", "words"),
    [("", False, "lacks base_model"), ("org/gone", False, "base_model is missing: org/gone"), ("", True, "truncated")],
)
def test_what_is_missing_or_damaged_is_named(path, tmp_path, base, is_damaged, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    if is_damaged:
        path.write_bytes(path.read_bytes()[:-1])

    mark, sentence = check_model(make_model(name="z", repo=str(path), base_model=base), tmp_path)

    assert mark == "bad"
    assert words in sentence
