"""Maps without a model: Canny as it is defined, lines where they belong, sizes, metadata, and time."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

from inference.images.control_maps import draw_canny, draw_lineart, draw_scribble, fit_picture, soften_tile
from inference.images.edges import find_edges, label_components
from inference.images.metadata import XMP_KEYWORD, xmp_packet
from inference.images.tools import TOOLS, run_tool
from inference.ipc.tool_messages import ToolRequest

LINES = (draw_canny, draw_lineart, draw_scribble)


def make_scene(size=(96, 64), ground="royalblue", color="firebrick"):
    """A disc on a ground as bright as it is, in the left half."""
    scene = Image.new("RGB", (size[0] * 4, size[1] * 4), ground)
    ImageDraw.Draw(scene).ellipse((60, 60, 60 + 2 * size[1], 60 + 2 * size[1]), fill=color)
    return scene.resize(size, Image.Resampling.LANCZOS)


def make_noise(shape=(23, 31, 3), blur=1.0):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(blur)))


def canny_written_out(pixels, low, high):
    """Pixel by pixel, with floating-point angles."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    magnitude, gradient = np.zeros((height + 2, width + 2), int), np.zeros((height, width, 2), int)
    for y in range(height):
        for x in range(width):
            for around in np.moveaxis(padded[y : y + 3, x : x + 3], 2, 0):
                gx = np.dot((1, 2, 1), around[:, 2] - around[:, 0])
                gy = np.dot((1, 2, 1), around[2] - around[0])
                if abs(gx) + abs(gy) > magnitude[y + 1, x + 1]:
                    magnitude[y + 1, x + 1], gradient[y, x] = abs(gx) + abs(gy), (gx, gy)
    strong, weak = [], set()
    for y in range(height):
        for x in range(width):
            gx, gy = gradient[y, x]
            slope = abs(gy) / abs(gx) if gx else np.inf
            step = (0, 1) if slope < np.tan(np.pi / 8) else (1, 0) if slope > np.tan(np.pi * 3 / 8) else None
            is_diagonal = step is None
            dy, dx = step or (1, -1 if gx * gy < 0 else 1)
            own = magnitude[y + 1, x + 1]
            before, after = magnitude[y + 1 - dy, x + 1 - dx], magnitude[y + 1 + dy, x + 1 + dx]
            if own > low and own > before and (own > after if is_diagonal else own >= after):
                weak.add((y, x))
                strong += [(y, x)] if own > high else []
    edges = np.zeros((height, width), bool)
    while strong:
        y, x = strong.pop()
        edges[y, x] = True
        near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & weak
        weak -= near
        strong += near
    return edges


@pytest.mark.parametrize("blur", [0, 1, 2])
def test_edges_are_those_of_canny_written_out(blur):
    pixels = make_noise(blur=blur)

    assert (find_edges(pixels, 100, 200) == canny_written_out(pixels, 100, 200)).all()
    assert (find_edges(pixels[:1, :5], 100, 200) == canny_written_out(pixels[:1, :5], 100, 200)).all()


def test_components_include_diagonals_and_long_spirals():
    mask = np.zeros((9, 9), bool)
    mask[[0, 1, 2], [0, 1, 2]] = mask[8, :3] = True
    spiral = np.zeros((301, 301), bool)
    low, high = 0, 300
    while high - low > 4:
        spiral[low, low : high + 1] = spiral[low : high + 1, high] = spiral[high, low : high + 1] = True
        spiral[low + 2 : high + 1, low] = spiral[low + 2, low : low + 3] = True
        low, high = low + 2, high - 2

    assert len(np.unique(label_components(mask))) == 3
    assert np.unique(label_components(spiral)).tolist() == [0, 1]
    assert not label_components(np.zeros((3, 0), bool)).size


@pytest.mark.parametrize("draw", LINES)
def test_lines_are_white_on_black_along_the_contours(draw):
    """Also between colours that differ in hue only, and the mirrored picture has the mirrored map."""
    scene = make_scene((192, 128))

    levels = np.asarray(draw([scene], {})[0])

    assert levels.shape == (128, 192, 3)
    assert (levels == levels[..., :1]).all()
    lines = levels[..., 0] > 127
    y, x = np.nonzero(lines)
    off = np.abs(np.hypot(x - (15 + 32), y - (15 + 32)) - 32)
    assert np.percentile(off, 98) < (7 if draw is draw_scribble else 3)
    assert levels[:, 100:].max() == 0
    angles = np.unique(np.round(np.arctan2(y - 47, x - 47), 1))
    assert len(angles) >= 60  # of 63: the line is closed


def test_a_scribble_is_thicker_than_an_edge_and_leaves_out_small_things():
    scene = make_scene((192, 128))
    scene.paste("white", (150, 50, 151, 51))
    canny, _, scribble = (np.asarray(draw([scene], {})[0])[..., 0] > 127 for draw in LINES)

    assert scribble[:, :100].sum() > 2.5 * canny[:, :100].sum()
    assert canny[:, 140:].any()
    assert not scribble[:, 140:].any()


def test_lineart_keeps_thin_strokes_that_have_no_area():
    drawing = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(drawing).line((20, 20, 100, 20), fill="black", width=1)

    levels = np.asarray(draw_lineart([drawing], {})[0])[..., 0]

    assert levels[20, 30:90].min() >= 127
    assert levels[60:].max() == 0


def test_a_tile_is_the_picture_without_its_finest_details():
    picture = Image.fromarray(make_noise((64, 64, 3), blur=2))
    soft = soften_tile([picture], {})[0]

    assert soft.size == picture.size
    assert np.abs(np.asarray(soft).astype(int) - np.asarray(picture)).mean() < 6
    checkers = Image.fromarray(np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255)
    assert np.asarray(soften_tile([checkers], {})[0]).std() < 2


@pytest.mark.parametrize("draw", [*LINES, soften_tile])
def test_a_map_has_the_size_asked_for_and_is_made_at_it(draw):
    made = draw([make_scene((192, 128))], {"width": 64, "height": 64})[0]

    assert (made.size, made.mode) == ((64, 64), "RGB")
    if draw is draw_canny:
        assert set(np.unique(np.asarray(made))) == {0, 255}


def test_a_picture_of_another_shape_is_cropped_and_transparency_is_white():
    picture = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste("red", (20, 0, 40, 20))

    fitted = fit_picture(picture, {"width": 10, "height": 10})

    assert fitted.getpixel((0, 5)) == (255, 255, 255)
    assert fitted.getpixel((9, 5)) == (255, 0, 0)


@pytest.mark.parametrize("picture", [Image.new("RGB", (64, 48), "gray"), Image.new("L", (1, 1))])
def test_a_plain_picture_has_an_empty_map(picture):
    for draw in LINES:
        assert np.asarray(draw([picture], {})[0]).max() == 0


def test_512_px_take_little_time():
    """Lineart takes the longest. Of the processor's time; the limit is for a shared machine."""
    picture = Image.fromarray(make_noise((512, 512, 3), blur=3))

    def measure():
        started = time.process_time()
        draw_lineart([picture], {})
        return time.process_time() - started

    assert min(measure() for _ in range(2)) < 0.3


def run(tool, picture, *texts):
    out, chunks = io.BytesIO(), PngInfo()
    for keyword, text in texts:
        chunks.add_itxt(keyword, text)
    picture.save(out, "PNG", pnginfo=chunks)
    reply = run_tool(ToolRequest(tool=tool, images=(out.getvalue(),)))
    made = Image.open(io.BytesIO(reply.images[0][0]))
    made.load()
    return made, reply.parameters


@pytest.mark.parametrize("tool", [name for name in TOOLS if name in ("canny", "lineart", "scribble", "tile")])
def test_the_map_of_a_photo_is_not_marked_as_generated_but_that_of_a_generated_image_is(tool):
    plain, _ = run(tool, make_scene())
    marks = (("parameters", "a fox"), ("easel", "{}"), (XMP_KEYWORD, xmp_packet("{}")))
    marked, parameters = run(tool, make_scene(), *marks)

    assert not {"parameters", "easel", XMP_KEYWORD} & set(plain.info)
    assert marked.info["parameters"] == parameters == "a fox"
    assert "trainedAlgorithmicMedia" in marked.info[XMP_KEYWORD]
