"""Which number format is taken, found out by computing."""

import pytest
import torch

from bot.errors import ModelUnavailable
from bot.memory.placement import Plan
from inference.memory import precision
from inference.memory.precision import best_half, computes, dtype_for, dtype_on_cpu
from tests.inference.support import make_model


@pytest.fixture(autouse=True)
def forget():
    best_half.cache_clear()
    yield
    best_half.cache_clear()


@pytest.fixture
def card(monkeypatch):
    """A card that computes in these formats alone; returns what it was asked for."""

    def computing_in(*formats, generation=8, hip=None):
        asked = []

        def computes(dtype, device):
            asked.append(dtype)
            return dtype in formats

        monkeypatch.setattr(precision, "computes", computes)
        monkeypatch.setattr(precision.torch.cuda, "get_device_capability", lambda device: (generation, 0))
        monkeypatch.setattr(precision.torch.version, "hip", hip)
        return asked

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
def test_the_first_half_precision_that_comes_out_right_is_taken(card, formats, generation, hip, dtype):
    card(*formats, generation=generation, hip=hip)

    assert dtype_for(make_model(), "cuda:0") == dtype


def test_a_device_is_asked_once(card):
    asked = card(torch.bfloat16)

    dtype_for(make_model("one"), "cuda:0")
    dtype_for(make_model("two"), "cuda:0")

    assert asked == [torch.bfloat16]


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_main_memory_means_full_precision_unless_the_owner_says_otherwise(device):
    assert dtype_for(make_model(), device) == torch.float32
    assert dtype_for(make_model(dtype="bfloat16"), device) == torch.bfloat16


def test_what_only_fits_in_half_precision_is_loaded_so():
    assert dtype_on_cpu(Plan(model="m", seats={}, format="bfloat16"), torch.float32) == torch.bfloat16
    assert dtype_on_cpu(Plan(model="m", seats={}), torch.float16) == torch.float16


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(ModelUnavailable) as refused:
        dtype_for(make_model(dtype="int4"), "cpu")
    assert "int4" in refused.value.detail


def test_this_machine_computes_in_each_format():
    assert computes(torch.float32, "cpu")
    assert computes(torch.bfloat16, "cpu")


def test_numbers_that_are_none_give_a_format_away(monkeypatch):
    monkeypatch.setattr(
        precision.torch.nn.functional, "conv2d", lambda *args, **more: torch.full((1, 1, 2, 2), float("nan"))
    )

    assert not computes(torch.float32, "cpu")


def test_an_operation_that_is_not_there_gives_a_format_away_and_full_memory_does_not(monkeypatch):
    def missing(*args, **more):
        raise RuntimeError('"slow_conv2d" not implemented for this type')

    monkeypatch.setattr(precision.torch.nn.functional, "conv2d", missing)
    assert not computes(torch.float32, "cpu")

    def full(*args, **more):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(precision.torch.nn.functional, "conv2d", full)
    with pytest.raises(RuntimeError, match="memory"):
        computes(torch.float32, "cpu")
