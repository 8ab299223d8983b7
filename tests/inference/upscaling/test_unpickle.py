"""A `.pth` file's weights become safetensors in a confined process; a pickle of anything else is refused unread."""

import os
import pickle
import subprocess
from io import BytesIO

import pytest
import torch
from safetensors.torch import load_file

from bot.error_texts import explain
from bot.errors import ModelRefused
from inference.checkpoints import convert
from inference.checkpoints.convert import convert_pickle
from inference.checkpoints.library import ModelLibrary
from inference.upscaling import unpickle
from inference.upscaling.unpickle import read_tensors
from tests.inference.upscaling.weights import as_original, rrdb_weights


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def stored(content, **how):
    file = BytesIO()
    torch.save(content, file, **how)
    file.seek(0)
    return file


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("names", [("params",), ("params", "params_ema"), ("state_dict",), ()])
def test_the_best_set_of_weights_is_read(is_zip, names):
    weights = {"a": torch.rand(3, 2), "b": torch.rand(2)}
    content = {name: {"a": torch.zeros(1)} for name in names[:-1]} | dict.fromkeys(names[-1:], weights)

    read = read_tensors(stored(content or weights, _use_new_zipfile_serialization=is_zip))

    assert sorted(read) == ["a", "b"]
    assert all(torch.equal(read[name], weights[name]) for name in read)


def test_code_in_a_pickle_does_not_run(tmp_path):
    with pytest.raises(ValueError, match="unreadable"):
        read_tensors(BytesIO(pickle.dumps(RunsCode(tmp_path / "ran"))))
    with pytest.raises(ValueError, match="unreadable"):
        read_tensors(stored({"a": RunsCode(tmp_path / "ran")}))

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{}, {"a": "text"}, {"a": {"b": torch.zeros(1)}}, [torch.zeros(1)], torch.zeros(1)])
def test_what_is_not_plain_tensors_is_refused(content):
    with pytest.raises(ValueError, match="no tensors"):
        read_tensors(stored(content))


def test_a_view_that_is_larger_than_its_file_is_refused(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_BYTES", 1000)

    with pytest.raises(ValueError, match="too large"):
        read_tensors(stored({"a": torch.zeros(1).expand(2**20)}))


def test_a_large_file_is_not_even_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MAX_BYTES", 10)
    (tmp_path / "x.pth").write_bytes(bytes(11))

    with pytest.raises(ModelRefused) as refused:
        convert_pickle(tmp_path / "x.pth", tmp_path / "x.safetensors")

    assert refused.value.problem == "pickle_size"


@pytest.mark.process
async def test_an_upscaler_is_converted_into_the_data_directory(tmp_path):
    weights = as_original(rrdb_weights())
    torch.save(weights, tmp_path / "ESRGAN.pth", _use_new_zipfile_serialization=False)

    converted = await ModelLibrary(tmp_path / "data").convert_weights(tmp_path / "ESRGAN.pth")

    assert converted == tmp_path / "data" / "checkpoints" / "ESRGAN.safetensors"
    assert {name: value.shape for name, value in load_file(converted).items()} == {
        name: value.shape for name, value in weights.items()
    }


async def test_a_pickle_that_is_refused_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "evil.pth").write_bytes(b"pickle")
    refusal = subprocess.CompletedProcess([], 1, stdout=b"", stderr=b"unreadable\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: refusal)

    with pytest.raises(ModelRefused) as refused:
        await ModelLibrary(tmp_path / "data").convert_weights(tmp_path / "evil.pth")

    assert explain(refused.value) == (
        "evil.pth does not hold plain weights, so it was not read: get the model as a .safetensors file."
    )
    assert not list((tmp_path / "data").rglob("*.*"))


async def test_weights_of_anything_else_are_not_kept(tmp_path, monkeypatch):
    def convert(source, target):
        target.parent.mkdir(parents=True)
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, target)

    monkeypatch.setattr("inference.checkpoints.library.convert_pickle", convert)

    with pytest.raises(ModelRefused) as refused:
        await ModelLibrary(tmp_path).convert_weights(tmp_path / "x.pth")

    assert refused.value.problem == "not_upscaler"
    assert not list(tmp_path.rglob("*.safetensors"))
