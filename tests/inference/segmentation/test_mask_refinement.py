"""The guided filter against its formula, and masks that follow the edges of their image."""

from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from inference.segmentation.cutouts import cut_out
from inference.segmentation.guided_filter import fast_guided_filter, guided_filter
from inference.segmentation.mask_refinement import refine_mask
from tests.inference.support import png


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def guide():
    return torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    return (torch.rand(9, 12, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def written_out(guide, mask, radius, epsilon):
    """He et al. (2013), equations 14 to 16, with a loop over the windows."""
    height, width = mask.shape
    windows = {}
    for y in range(height):
        for x in range(width):
            area = (slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1))
            colours = guide[(slice(None), *area)].reshape(3, -1).double()
            values = mask[area].reshape(-1).double()
            mean = colours.mean(dim=1)
            covariance = colours @ colours.T / len(values) - torch.outer(mean, mean)
            shared = (colours * values).mean(dim=1) - mean * values.mean()
            slope = torch.linalg.solve(covariance + epsilon * torch.eye(3, dtype=torch.double), shared)
            windows[y, x] = torch.cat([slope, (values.mean() - slope @ mean)[None]])
    result = torch.zeros(height, width, dtype=torch.double)
    for y in range(height):
        for x in range(width):
            near = [one for (v, u), one in windows.items() if abs(v - y) <= radius and abs(u - x) <= radius]
            mean = torch.stack(near).mean(dim=0)
            result[y, x] = mean[:3] @ guide[:, y, x].double() + mean[3]
    return result.float()


def test_the_filter_equals_its_formula(guide, mask):
    torch.testing.assert_close(guided_filter(guide, mask, 2, 1e-2), written_out(guide, mask, 2, 1e-2))


def test_the_fast_filter_is_the_exact_one_for_small_images_and_near_it_for_others(guide, mask):
    smooth = torch.nn.functional.interpolate(guide[None], (36, 48), mode="bilinear")[0]
    coarse = torch.nn.functional.interpolate(mask[None, None], (36, 48), mode="bilinear")[0, 0]

    assert torch.equal(fast_guided_filter(guide, mask, 2, 1e-2, 12), guided_filter(guide, mask, 2, 1e-2))
    difference = fast_guided_filter(smooth, coarse, 4, 1e-2, 24) - guided_filter(smooth, coarse, 4, 1e-2)
    assert difference.abs().mean() < 0.03


def test_a_coarse_mask_follows_the_edge_of_the_image():
    image = Image.new("RGB", (96, 64), "navy")
    image.paste("orange", (0, 0, 43, 64))
    coarse = torch.zeros(8, 8, dtype=torch.bool)
    coarse[:, :4] = True  # to column 48

    refined = numpy.asarray(refine_mask(coarse, image, 1)).astype(int)

    assert refined.shape == (64, 96)
    assert refined[:, :42].min() > 200
    assert refined[:, 50:].max() < 60
    assert (refined >= 128).any(axis=0).sum() in (43, 44, 45), "the coarse mask has 48"


@pytest.mark.parametrize(("fill", "level"), [(False, 0), (True, 255)])
def test_nothing_and_everything_stay_what_they_are(fill, level):
    mask = torch.full((4, 4), fill)

    assert refine_mask(mask, Image.new("RGB", (30, 20)), 1).getextrema() == (level, level)


def test_a_cutout_keeps_the_size_and_loses_what_was_behind():
    image = Image.new("RGB", (40, 40), (0, 0, 255))
    image.paste((255, 0, 0), (10, 10, 30, 30))
    image.paste((128, 0, 128), (30, 10, 31, 30))  # half of each
    mask = Image.new("L", (40, 40))
    mask.paste(255, (10, 10, 30, 30))
    mask.paste(128, (30, 10, 31, 30))

    cutout = cut_out(png(image), mask)

    assert (cutout.mode, cutout.size) == ("RGBA", (40, 40))
    assert cutout.getpixel((20, 20)) == (255, 0, 0, 255)
    pixel: Any = cutout.getpixel((30, 20))
    red, green, blue, alpha = pixel
    assert (alpha, green) == (128, 0)
    assert red > 240
    assert blue < 15
    assert cutout.getpixel((2, 2)) == (0, 0, 0, 0)


def test_what_was_transparent_stays_transparent():
    image = Image.new("RGBA", (8, 8), (9, 9, 9, 255))
    image.putpixel((3, 3), (9, 9, 9, 0))

    cutout = cut_out(png(image), Image.new("L", (8, 8), 255))

    pixel: Any = cutout.getpixel((3, 3))
    assert pixel[3] == 0
    assert cutout.getpixel((4, 4)) == (9, 9, 9, 255)
