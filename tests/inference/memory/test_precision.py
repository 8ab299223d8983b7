"""The number format of a model, chosen by trial."""

import pytest
import torch

from bot.errors import ModelUnavailable
from bot.memory.placement import PlacementPlan
from inference.memory import precision
from inference.memory.precision import best_half_dtype, can_compute, dtype_for, planned_dtype
from tests.inference.support import make_model


@pytest.fixture(autouse=True)
def clear_cache():
    best_half_dtype.cache_clear()
    yield
    best_half_dtype.cache_clear()


@pytest.fixture
def card(monkeypatch):
    """A card that computes only in these formats; returns the formats that were tried."""

    def computing_in(*formats, generation=8, hip=None):
        tried = []

        def can_compute(dtype, device):
            tried.append(dtype)
            return dtype in formats

        monkeypatch.setattr(precision, "can_compute", can_compute)
        monkeypatch.setattr(precision.torch.cuda, "get_device_capability", lambda device: (generation, 0))
        monkeypatch.setattr(precision.torch.version, "hip", hip)
        return tried

    return computing_in


@pytest.mark.parametrize(
    ("formats", "generation", "hip", "dtype"),
    [
        ((torch.bfloat16, torch.float16), 8, None, torch.bfloat16),
        ((torch.float16,), 8, None, torch.float16),
        ((), 8, None, torch.float32),
        ((torch.bfloat16, torch.float16), 7, None, torch.float16),
        ((torch.bfloat16, torch.float16), 9, "6.4", torch.bfloat16),
    ],
)
def test_the_first_half_precision_that_computes_correctly_is_chosen(card, formats, generation, hip, dtype):
    card(*formats, generation=generation, hip=hip)

    assert dtype_for(make_model(), "cuda:0") == dtype


def test_a_device_is_tried_once(card):
    tried = card(torch.bfloat16)

    dtype_for(make_model("one"), "cuda:0")
    dtype_for(make_model("two"), "cuda:0")

    assert tried == [torch.bfloat16]


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_the_cpu_uses_full_precision_unless_configured_otherwise(device):
    assert dtype_for(make_model(), device) == torch.float32
    assert dtype_for(make_model(dtype="bfloat16"), device) == torch.bfloat16


def test_a_model_that_fits_only_in_half_precision_is_loaded_in_it():
    assert planned_dtype(PlacementPlan(model="m", placements={}, format="bfloat16"), torch.float32) == torch.bfloat16
    assert planned_dtype(PlacementPlan(model="m", placements={}), torch.float16) == torch.float16


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(ModelUnavailable) as refused:
        dtype_for(make_model(dtype="int4"), "cpu")
    assert "int4" in refused.value.detail


def test_this_machine_computes_in_each_format():
    assert can_compute(torch.float32, "cpu")
    assert can_compute(torch.bfloat16, "cpu")


def test_a_format_that_yields_nan_is_rejected(monkeypatch):
    monkeypatch.setattr(
        precision.torch.nn.functional, "conv2d", lambda *args, **more: torch.full((1, 1, 2, 2), float("nan"))
    )

    assert not can_compute(torch.float32, "cpu")


def test_a_missing_operation_rejects_a_format_and_full_memory_does_not(monkeypatch):
    def missing(*args, **more):
        raise RuntimeError('"slow_conv2d" not implemented for this type')

    monkeypatch.setattr(precision.torch.nn.functional, "conv2d", missing)
    assert not can_compute(torch.float32, "cpu")

    def full(*args, **more):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(precision.torch.nn.functional, "conv2d", full)
    with pytest.raises(RuntimeError, match="memory"):
        can_compute(torch.float32, "cpu")
