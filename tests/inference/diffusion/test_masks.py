"""Inpainting: what each kind of mask means, on which models it works, and that the rest of the picture stays."""

import dataclasses
import itertools

import numpy
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from PIL import Image, ImageDraw

from bot.error_texts import MASK_COVERS_ALL, explain
from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from composition.settings import shipped_models
from inference.diffusion.masks import fit_mask, grow_to_cells
from inference.diffusion.pipeline_call import fit_steps
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed, build_engine
from inference.images.mask_reading import read_mask
from tests.inference.diffusion.test_batching import with_lcm
from tests.inference.families import save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    # Diffusers' schedulers against NumPy 2.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
CLEAR, BLACK, WHITE, RED = (0, 0, 0, 0), (0, 0, 0, 255), (255, 255, 255, 255), (255, 0, 0, 255)
LEFT = numpy.zeros((64, 64), bool)
LEFT[:, :32] = True
NOISE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), numpy.uint8))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def halves(left, right, mode="RGBA"):
    image = Image.new(mode, (64, 64), right)
    image.paste(left, (0, 0, 32, 64))
    return image


def erased_left():
    """A picture whose left half is transparent; its colours are still there."""
    image = NOISE.convert("RGBA")
    image.putalpha(Image.fromarray((~LEFT).astype(numpy.uint8) * 255))
    return image


def three_tones():
    image = halves(WHITE, BLACK)
    image.paste(CLEAR, (48, 0, 64, 64))
    return image


def two_colours():
    image = halves(RED, CLEAR)
    image.paste((0, 0, 255, 255), (0, 0, 32, 20))
    return image


def as_palette(image):
    return image.convert("RGB").convert("P")


MASKS = {
    "grey": halves(255, 0, "L"),
    "one bit": halves(1, 0, "1"),
    "RGB": halves("white", "black", "RGB"),
    "palette": as_palette(halves("white", "black", "RGB")),
    "opaque alpha": halves(WHITE, BLACK),
    "white strokes on clear": halves(WHITE, CLEAR),
    "black strokes on clear": halves(BLACK, CLEAR),
    "red strokes on clear": halves(RED, CLEAR),
    "strokes on clear white": halves(BLACK, (255, 255, 255, 0)),
    "strokes in two colours": two_colours(),
    "grey with alpha": halves((0, 255), (255, 0), "LA"),
    "black and white with clear parts": three_tones(),
    "a picture with a hole": erased_left(),
}


@pytest.mark.parametrize("kind", MASKS)
def test_each_kind_of_mask_selects_what_it_means(kind):
    mask = numpy.asarray(read_mask(png(MASKS[kind])))

    assert (mask == LEFT * 255).all()


def test_grey_stays_grey():
    assert read_mask(png(halves(200, 60, "L"))).getpixel((0, 0)) == 200


def test_a_smaller_mask_marks_nothing_away_from_its_edge():
    mask = numpy.asarray(fit_mask(png(halves(255, 0, "L")), 256, 128))

    assert mask.shape == (128, 256)
    assert not mask[:, 134:].any()
    assert (mask[:, :122] == 255).all()


def test_a_stroke_that_is_too_thin_for_the_size_gets_a_pixels_width():
    mask = Image.new("L", (640, 640), 40)
    ImageDraw.Draw(mask).line((0, 320, 400, 320), fill=255, width=3)

    fitted = numpy.asarray(fit_mask(png(mask), 64, 64))

    assert set(numpy.unique(fitted)) == {0, 255}
    assert (fitted[32, :40] == 255).all()
    assert not fitted[[*range(30), *range(34, 64)]].any()
    assert not fitted[:, 42:].any()


def test_grey_below_half_and_strokes_outside_the_crop_select_nothing():
    wide = Image.new("L", (640, 64), 0)
    wide.paste(255, (0, 0, 8, 64))

    assert numpy.asarray(fit_mask(png(Image.new("L", (640, 640), 100)), 64, 64)).max() == 100
    assert numpy.asarray(fit_mask(png(wide), 64, 64)).max() == 0


def test_a_thin_stroke_repaints_each_cell_that_it_touches():
    mask = Image.new("L", (64, 32), 0)
    ImageDraw.Draw(mask).line((0, 17, 40, 17), fill=255)

    cells = numpy.asarray(grow_to_cells(mask, 16))

    assert (cells[16:, :48] == 255).all()
    assert cells.sum() == 255 * 16 * 48


# ---------------------------------------------------------------- on models

SAVE = {
    "sd": save_diffusion,
    "lcm": lambda folder: with_lcm(save_diffusion(folder)),
    "sdxl": save_sdxl,
    "z-image": save_z_image,
}
FIELDS = {"guidance_scale": 2.0, "negative_prompt": "", "sampler": "", "count": 1, "seed": 7}


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    loaded = {}

    def load(name):
        if name not in loaded:
            if name == "starter-image":
                model = shipped_models()[name]
            else:
                folder = SAVE[name](tmp_path_factory.mktemp("models") / name)
                model = make_model(name, tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder))
            loaded[name] = build_engine(model)
            loaded[name].load_model("cpu")
        return loaded[name]

    yield load
    for engine in loaded.values():
        engine.unload_model()


def make_request(mask=None, *, steps=2, side=64, **options):
    images = [("init", NOISE)] + ([("mask", mask)] if mask is not None else [])
    task = make_task("a fox", options=FIELDS | {"steps": steps, "width": side, "height": side} | options)
    sent = tuple(TaskImage(role, Media(png(image), "image/png")) for role, image in images)
    return dataclasses.replace(task, task=IMAGE_TO_IMAGE, images=sent)


def run_task(engine, task):
    engine.add_task(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], TaskDone)):
        events += engine.step()
        for event in events:
            if isinstance(event, TaskFailed):
                raise event.error
    (image,) = [event.image for event in events if isinstance(event, ImageReady)]
    pixels = numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, 3)
    return pixels, events[-1].result.notes


@pytest.mark.parametrize("name", ["sd", "sdxl", "z-image", "starter-image"])
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_pixels_outside_the_mask_are_kept_and_those_inside_are_new(engines, name, strength):
    pixels, _ = run_task(engines(name), make_request(halves(BLACK, CLEAR), strength=strength))
    start = numpy.asarray(NOISE)

    assert (pixels[~LEFT] == start[~LEFT]).all()
    assert (pixels[LEFT] != start[LEFT]).mean() > 0.9


@pytest.mark.parametrize("name", [*SAVE, "starter-image"])
@pytest.mark.parametrize("mask", [None, halves(255, 0, "L")], ids=["init", "mask"])
def test_one_step_from_a_picture_works_at_every_strength(engines, name, mask):
    made = [run_task(engines(name), make_request(mask, steps=1, strength=strength))[0] for strength in (0.01, 1.0)]

    assert [pixels.shape for pixels in made] == [(64, 64, 3)] * 2


def test_one_step_keeps_as_much_of_the_picture_as_its_strength_says(engines):
    unchanged, *others = (
        run_task(engines("starter-image"), make_request(steps=steps, strength=strength))[0].astype(int)
        for steps, strength in ((50, 0.02), (1, 0.01), (1, 0.3), (1, 1.0))
    )
    distances = [abs(pixels - unchanged).mean() for pixels in others]

    assert distances == sorted(distances)
    assert distances[0] < 0.5 < distances[2]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12, 49, 50, 150])
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.02, 0.3, 0.6, 0.99, 1.0])
def test_each_strength_makes_a_step_in_the_arithmetic_of_every_family(steps, strength):
    count, used = fit_steps(steps, strength)

    assert 0 < used <= 1
    assert int(count * used) == max(1, int(steps * strength))  # SD, SDXL
    assert steps * strength >= 1 or count - int(count - count * used) == 1  # FLUX, Z-Image


@pytest.mark.parametrize("mask", [None, halves(255, 0, "L")], ids=["init", "mask"])
def test_every_sampler_makes_one_step_from_a_picture(engines, mask):
    engine = engines("lcm")
    assert len(engine.capabilities["samplers"]) > 8
    for sampler, steps in itertools.product(engine.capabilities["samplers"], (1, 3)):
        run_task(engine, make_request(mask, steps=steps, strength=0.01, sampler=sampler, side=32))


@pytest.mark.parametrize(
    "mask",
    [Image.new("L", (64, 64), 0), Image.new("RGBA", (64, 64), (255, 255, 255, 0)), Image.new("L", (64, 64), 100)],
    ids=["black", "clear", "dark grey"],
)
def test_an_empty_mask_is_refused_in_one_sentence(engines, mask):
    with pytest.raises(InvalidOption) as refused:
        engines("sd").add_task(make_request(mask, strength=0.6))

    assert refused.value.problem == "mask_empty"
    assert explain(refused.value).startswith("The mask selects nothing: ")
    assert engines("sd").free_slots == 16


def test_a_mask_that_covers_everything_is_noted(engines):
    full, notes = run_task(engines("sd"), make_request(Image.new("L", (64, 64), 255), strength=1.0))
    _, half_notes = run_task(engines("sd"), make_request(halves(255, 0, "L"), strength=1.0))

    assert notes == (MASK_COVERS_ALL,)
    assert half_notes == ()
    assert (full != numpy.asarray(NOISE)).mean() > 0.9


def test_a_unet_with_other_inputs_takes_no_mask(engines, monkeypatch):
    engine = engines("sd")
    config = FrozenDict({**engine._pipelines[""].unet.config, "in_channels": 8})
    monkeypatch.setattr(engine._pipelines[""].unet, "_internal_dict", config)
    with pytest.raises(InvalidOption) as refused:
        run_task(engine, make_request(halves(255, 0, "L"), strength=1.0))

    assert (refused.value.option, refused.value.problem) == ("mask", "model_lacks")
