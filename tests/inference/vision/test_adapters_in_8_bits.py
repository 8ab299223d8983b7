"""Adapters of a model whose layers compute in 8 bits, as on processors that multiply such numbers."""

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from inference.memory.int8_layers import Int8Linear
from inference.vision.adapter_files import is_target
from inference.vision.row_adapters import NO_ADAPTER, RowAdapters
from tests.inference.tiny import save_blip
from tests.inference.vision.adapter_files import save_adapter


@pytest.fixture
def blip(tmp_path):
    folder = save_blip(tmp_path / "opt", "opt")
    blip = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    for name, layer in list(blip.named_modules()):
        if is_target(name) and type(layer) is torch.nn.Linear:
            blip.set_submodule(name, Int8Linear(layer))
    return blip


@torch.inference_mode()
def test_an_adapter_changes_its_rows_of_a_model_in_8_bits(blip, tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    adapters = RowAdapters(blip, "")
    key = adapters.load(save_adapter(tmp_path, tmp_path / "opt", "one"))
    states = torch.randn(2, 3, blip.language_projection.in_features)
    plain = blip.language_projection(states)
    with adapters.applied([key, NO_ADAPTER]):
        mixed = blip.language_projection(states)

    assert torch.equal(mixed[1], plain[1])
    assert not torch.allclose(mixed[0], plain[0])
