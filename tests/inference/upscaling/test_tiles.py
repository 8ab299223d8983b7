"""Tiles cover an image, and their results are joined without seams."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inference.upscaling.loader import load_upscaler
from inference.upscaling.tiles import TiledPlane, plan_tiles, split_side
from tests.inference.support import make_model
from tests.inference.upscaling.test_networks import save_swin2sr
from tests.inference.upscaling.weights import compact_weights, rrdb_weights


@pytest.mark.parametrize("length", [1, 32, 63, 64, 65, 100, 127, 128, 200, 1001])
@pytest.mark.parametrize(("radius", "multiple"), [(5, 1), (0, 8), (16, 4)])
def test_tiles_cover_a_side_and_overlap_enough(length, radius, multiple):
    plan = plan_tiles(64, radius, multiple)
    length += -length % multiple

    spans = split_side(length, plan)

    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert len({span.stop - span.start for span in spans}) == 1
    for before, after in itertools.pairwise(spans):
        assert before.stop - after.start >= plan.overlap
        assert after.start % multiple == 0
        assert after.start + plan.overlap // 2 <= after.joint <= before.stop - plan.overlap // 2


def enlarge_in_tiles(upscaler, pixels, side):
    plane = TiledPlane(pixels, upscaler.scale, plan_tiles(side, upscaler.radius, upscaler.multiple))
    with torch.inference_mode():
        for _ in plane.tiles:
            tile = torch.from_numpy(plane.take_tile().copy()).permute(2, 0, 1)[None].float() / 255
            plane.put_tile(upscaler.enlarge(tile).mul(255)[0].permute(1, 2, 0).numpy())
    return plane


def smooth_pixels(height=52, width=70):
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 9 + n) + np.cos(columns / (7 + n)) for n in range(3)]
    return (127 + 60 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)


@pytest.fixture(params=["RRDBNet", "RRDBNet at twice the size", "compact"])
def shallow_upscaler(tmp_path, request):
    """What a pixel depends on fits into the overlap of tiles."""
    weights = {
        "RRDBNet": lambda: rrdb_weights(blocks=1),
        "RRDBNet at twice the size": lambda: rrdb_weights(blocks=1, channels=12),
        "compact": compact_weights,
    }[request.param]()
    save_file(weights, tmp_path / "x.safetensors")
    return load_upscaler(make_model(), tmp_path / "x.safetensors", "cpu")


def test_the_tiles_result_is_the_undivided_images(shallow_upscaler):
    side = 4 * shallow_upscaler.radius
    height, width = side // 2 + 9, side + 29
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)

    tiled = enlarge_in_tiles(shallow_upscaler, pixels, side)
    whole = enlarge_in_tiles(shallow_upscaler, pixels, 512)

    assert len(tiled.tiles) > len(whole.tiles) == 1
    assert tiled.large.shape == (height * tiled.scale, width * tiled.scale, 3)
    assert np.abs(tiled.large.astype(int) - whole.large.astype(int)).max() <= 1


@pytest.mark.parametrize("network", ["RRDBNet", "Swin2SR"])
def test_where_results_differ_no_step_is_visible_at_the_joints(tmp_path, network):
    if network == "Swin2SR":
        save_swin2sr(tmp_path)
        upscaler = load_upscaler(make_model(), tmp_path, "cpu")
    else:
        save_file(rrdb_weights(blocks=2), tmp_path / "x.safetensors")
        upscaler = load_upscaler(make_model(), tmp_path / "x.safetensors", "cpu")
    pixels = smooth_pixels()

    plane, whole = enlarge_in_tiles(upscaler, pixels, 48), enlarge_in_tiles(upscaler, pixels, 512)

    steps, usual = (np.abs(np.diff(one.large.astype(float), axis=1)).mean(axis=(0, 2)) for one in (plane, whole))
    joints = [column.joint * plane.scale + n for _, column in plane.tiles if column.joint for n in range(-4, 4)]
    assert plane.plan.fade
    assert joints
    assert steps[joints].mean() <= usual[joints].mean() + 0.1


def test_a_side_that_is_no_multiple_is_mirrored_and_cut_again(tmp_path):
    save_swin2sr(tmp_path)
    upscaler = load_upscaler(make_model(), tmp_path, "cpu")

    assert enlarge_in_tiles(upscaler, smooth_pixels(5, 3), 48).large.shape == (10, 6, 3)
