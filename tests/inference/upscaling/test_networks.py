"""Each network computes its written-out formula, from the weights of each layout of names."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from bot.errors import ModelUnavailable
from inference.checkpoints.identify import identify_path
from inference.checkpoints.upscaler_layout import COMPACT, RRDB, read_layout
from inference.upscaling.loader import load_upscaler
from inference.upscaling.networks import build_network
from tests.inference.support import make_model
from tests.inference.upscaling.weights import as_first_esrgan, as_original, compact_weights, rrdb_weights


def expected_rrdb(weights, images, unshuffle=1):
    def conv(name, inputs):
        return F.conv2d(inputs, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def leaky(values):
        return torch.where(values > 0, values, 0.2 * values)

    n, _, height, width = images.shape
    rows = images.reshape(n, 3, height // unshuffle, unshuffle, width // unshuffle, unshuffle)
    first = conv("conv_first", rows.permute(0, 1, 3, 5, 2, 4).reshape(n, -1, height // unshuffle, width // unshuffle))
    hidden = first
    for block in (0, 1):
        before = hidden
        for dense in (1, 2, 3):
            seen = hidden
            for number in (1, 2, 3, 4):
                seen = torch.cat([seen, leaky(conv(f"body.{block}.rdb{dense}.conv{number}", seen))], dim=1)
            hidden = hidden + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", seen)
        hidden = before + 0.2 * hidden
    hidden = first + conv("conv_body", hidden)
    for number in (1, 2):
        if f"conv_up{number}.weight" in weights:
            hidden = leaky(conv(f"conv_up{number}", hidden.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)))
    return conv("conv_last", leaky(conv("conv_hr", hidden)))


def expected_compact(weights, images, scale):
    hidden, last = images, len([name for name in weights if name.endswith("bias")]) - 1
    for number in range(last + 1):
        hidden = F.conv2d(hidden, weights[f"body.{2 * number}.weight"], weights[f"body.{2 * number}.bias"], padding=1)
        if number < last:
            slopes = weights[f"body.{2 * number + 1}.weight"][:, None, None]
            hidden = torch.where(hidden > 0, hidden, slopes * hidden)
    n, _, height, width = images.shape
    pixels = hidden.reshape(n, 3, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    nearest = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return pixels.reshape(n, 3, height * scale, width * scale) + nearest


def layout_of(weights):
    return read_layout({name: list(value.shape) for name, value in weights.items()})


def prefixed(weights, prefix):
    return {f"{prefix}{name}": value for name, value in weights.items()}


RENAMED = {
    "as they are": lambda weights: weights,
    "first ESRGAN": as_first_esrgan,
    "original code": as_original,
    "averaged": lambda weights: prefixed(weights, "params_ema."),
    "averaged and last": lambda weights: (
        prefixed(weights, "params_ema.")
        | {name: torch.zeros_like(value) for name, value in prefixed(weights, "params.").items()}
    ),
}


@pytest.mark.parametrize("names", list(RENAMED))
def test_rrdbnet_is_the_written_out_formula_whatever_its_weights_are_called(names):
    weights, images = rrdb_weights(), torch.rand(2, 3, 6, 8)
    stored = RENAMED[names](weights)

    layout = layout_of(stored)
    enlarged = build_network(layout, stored)(images)

    assert (layout.network, layout.scale, layout.blocks) == (RRDB, 4, 2)
    torch.testing.assert_close(enlarged, expected_rrdb(weights, images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "unshuffle", "scale"), [(12, 2, 2), (48, 4, 1)])
def test_smaller_scales_of_rrdbnet_first_turn_pixels_into_channels(channels, unshuffle, scale):
    weights, images = rrdb_weights(channels=channels), torch.rand(1, 3, 8, 12)

    layout = layout_of(weights)

    assert (layout.scale, layout.unshuffle) == (scale, unshuffle)
    expected = expected_rrdb(weights, images, unshuffle)
    torch.testing.assert_close(build_network(layout, weights)(images), expected, atol=1e-5, rtol=1e-5)


def test_the_original_layout_has_one_enlarging_layer_at_twice_the_size():
    weights = rrdb_weights(upsamplings=1)
    stored, images = as_original(weights, upsamplings=1), torch.rand(1, 3, 4, 4)

    assert layout_of(stored).scale == 2
    expected = expected_rrdb(weights, images)
    torch.testing.assert_close(build_network(layout_of(stored), stored)(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_compact_network_is_the_written_out_formula(scale):
    weights, images = compact_weights(scale=scale), torch.rand(2, 3, 5, 7)

    layout = layout_of(weights)

    assert (layout.network, layout.scale, layout.blocks) == (COMPACT, scale, 2)
    expected = expected_compact(weights, images, scale)
    torch.testing.assert_close(build_network(layout, weights)(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("conv_last.weight"),
        lambda weights: weights.update({"conv_first.weight": torch.zeros(6, 4, 3, 3)}),
        lambda weights: weights.update({"conv_last.weight": torch.zeros(1, 6, 3, 3)}),
    ],
)
def test_what_no_network_has_is_no_upscaler(change):
    weights = rrdb_weights()
    change(weights)

    assert layout_of(weights) is None


@pytest.mark.parametrize(
    ("weights", "kind"),
    [(rrdb_weights(), RRDB), (as_original(rrdb_weights()), RRDB), (compact_weights(), COMPACT)],
    ids=["RRDBNet", "original", "compact"],
)
def test_a_file_is_recognised_by_its_tensors(tmp_path, weights, kind):
    save_file({name: value.clone() for name, value in weights.items()}, tmp_path / "x.safetensors")

    info = identify_path(tmp_path / "x.safetensors")

    assert (info.kind, info.class_name, info.tasks) == ("upscaler", kind, ("image-upscaling",))


def test_a_file_that_lacks_a_weight_is_refused_by_name(tmp_path):
    weights = rrdb_weights()
    del weights["body.1.rdb2.conv3.bias"]
    save_file(weights, tmp_path / "x.safetensors")

    with pytest.raises(ModelUnavailable, match=r"body\.1\.rdb2\.conv3\.bias"):
        load_upscaler(make_model(), tmp_path / "x.safetensors", "cpu")


@pytest.mark.parametrize(("dtype", "levels"), [("float32", 0.01), ("float16", 1.0), ("bfloat16", 2.5)])
@pytest.mark.parametrize("weights", [rrdb_weights(), compact_weights()], ids=["RRDBNet", "compact"])
def test_every_number_format_gives_the_same_picture(tmp_path, dtype, levels, weights):
    save_file(weights, tmp_path / "x.safetensors")
    images = torch.rand(1, 3, 16, 16)

    loaded = load_upscaler(make_model(dtype=dtype), tmp_path / "x.safetensors", "cpu")

    exact = build_network(layout_of(weights), weights)(images).clamp(0, 1)
    assert (255 * (loaded.enlarge(images) - exact)).abs().max() <= levels


def test_what_overflows_in_half_precision_is_computed_in_full(tmp_path):
    weights = rrdb_weights()
    weights["conv_first.weight"] *= 5e4
    weights["conv_last.weight"] /= 5e4
    save_file(weights, tmp_path / "x.safetensors")
    images = torch.rand(1, 3, 8, 8)

    loaded = load_upscaler(make_model(dtype="float16"), tmp_path / "x.safetensors", "cpu")
    enlarged = loaded.enlarge(images)

    assert loaded.dtype == torch.float32
    assert torch.isfinite(enlarged).all()


def save_swin2sr(folder, scale=2):
    torch.manual_seed(0)
    config = Swin2SRConfig(
        image_size=16, embed_dim=8, depths=[1], num_heads=[2], window_size=4, mlp_ratio=2.0, upscale=scale
    )
    Swin2SRForImageSuperResolution(config).save_pretrained(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_swin2sr_is_transformers_own(tmp_path, dtype):
    save_swin2sr(tmp_path)
    images = torch.rand(2, 3, 8, 12)

    loaded = load_upscaler(make_model(dtype=dtype), tmp_path, "cpu")

    with torch.no_grad():
        stock = Swin2SRForImageSuperResolution.from_pretrained(tmp_path)(images).reconstruction.clamp(0, 1)
    assert identify_path(tmp_path).tasks == ("image-upscaling",)
    assert (loaded.scale, loaded.multiple) == (2, 4)
    assert (255 * (loaded.enlarge(images) - stock)).abs().max() <= (0.01 if dtype == "float32" else 6)
