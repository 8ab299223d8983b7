"""Layers in 8 bits on processors that multiply such numbers: exact per row, and the same answers."""

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from inference.memory import planner, transformers_loader
from inference.memory.int8_layers import Int8Linear, has_fast_int8
from inference.memory.quantization import quantize_to_int8
from inference.vision.loader import load_blip
from tests.backends_required import require_backend
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from training.draw import render_scene
from training.evaluate import BACKGROUND_QUESTION, THING_QUESTION, VisionModel
from training.world import held_out_scenes


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    return nn.Linear(256, 96).eval()


@pytest.mark.parametrize("shape", [(256,), (3, 256), (2, 5, 256)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_computes_nearly_the_same(layer, shape, has_bias):
    plain = copy.deepcopy(layer)
    plain.bias = plain.bias if has_bias else None
    inputs = torch.randn(*shape)

    expected, outputs = plain(inputs), Int8Linear(plain)(inputs)

    assert outputs.shape == expected.shape
    assert (outputs - expected).norm() < 0.02 * expected.norm()


def test_no_row_depends_on_the_others(layer):
    quantized = Int8Linear(layer)
    rows = torch.cat([torch.randn(4, 256), 1000 * torch.randn(1, 256), torch.zeros(1, 256)])

    assert torch.equal(quantized(rows), torch.cat([quantized(row[None]) for row in rows]))
    assert torch.equal(quantized(rows[-1:]), layer.bias[None])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_not_hidden(layer, value):
    rows = torch.randn(2, 256)
    rows[0, 3] = value
    outputs = Int8Linear(layer)(rows)

    assert not outputs[0].isfinite().any()
    assert outputs[1].isfinite().all()


def test_outputs_have_the_format_of_the_inputs(layer):
    quantized = Int8Linear(layer).bfloat16()

    assert quantized(torch.randn(2, 256, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert quantized(torch.zeros(0, 256)).shape == (0, 96)
    assert quantized.weight.dtype == torch.int8


def test_only_processors_multiply_8_bit_numbers(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    assert has_fast_int8("cpu")
    assert not has_fast_int8("cuda:0")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert not has_fast_int8("cpu")


@pytest.mark.parametrize(("language", "is_fast"), [("opt", True), ("t5", True), ("opt", False)])
def test_a_model_that_answers_has_these_layers_where_they_are_quick(tmp_path, monkeypatch, language, is_fast):
    require_backend("torchao")
    monkeypatch.setattr(planner, "MIN_LAYER_WEIGHTS", 64)
    monkeypatch.setattr(transformers_loader, "has_fast_int8", lambda _: is_fast)
    folder = save_blip(tmp_path, language)

    blip, _ = load_blip(make_model(repo=str(folder), dtype="float32", quantize="8bit"), folder, "cpu")

    assert any(isinstance(one, Int8Linear) for one in blip.modules()) is is_fast


def test_the_starter_gives_the_same_answers():
    model = VisionModel(Path("models/starter-vision"))
    images = [Image.fromarray(render_scene(scene)) for scene in held_out_scenes()[:12]]

    def answers() -> list[str]:
        return model.answer_question(images, THING_QUESTION) + model.answer_question(images, BACKGROUND_QUESTION)

    expected = answers()
    parts = ("vision_model", "qformer", "language_model")
    layers = sum(quantize_to_int8(getattr(model.model, part)) for part in parts)

    assert layers > 40
    assert answers() == expected
