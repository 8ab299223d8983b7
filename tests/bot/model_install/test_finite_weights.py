"""Weights that are no numbers are found in every format, without torch."""

import math

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import ModelRefused
from bot.model_install import addon_files
from bot.ports import PromptAddon


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *((dtype, value) for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2)
          for value in (math.nan, math.inf, -math.inf)),
        (torch.float8_e4m3fn, math.nan),
    ],
)  # fmt: skip
def test_weights_that_are_not_finite_are_refused_when_added(tmp_path, dtype, value):
    path, addon = tmp_path / "x.safetensors", PromptAddon(name="x", kind="lora", family="", size=0)
    save_file({"a": torch.ones(4).to(dtype), "b": torch.tensor([1.0, value]).to(dtype)}, path)

    with pytest.raises(ModelRefused) as refused:
        addon_files.store_addon(tmp_path / "data", path, addon)

    assert "weights that are no numbers (b)" in refused.value.detail
    save_file({"a": torch.tensor([1.0, -0.0, torch.finfo(dtype).max / 2]).to(dtype), "n": torch.tensor([127])}, path)
    assert addon_files.store_addon(tmp_path / "data", path, addon).name == "x"
