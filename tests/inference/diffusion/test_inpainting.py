"""Inpainting of a part: the picture keeps its size and its other pixels, and the part is what the stock pipeline makes
of the same crop."""

import dataclasses
import json
from typing import Any

import numpy
import pytest
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.inpainting import crop_box, masked_area
from inference.diffusion.masks import grow_to_cells
from inference.engine.base import ImageReady, TaskDone, TaskFailed, build_engine
from tests.inference.families import save_sdxl
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion, save_editor

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
FIELDS = {"guidance_scale": 2.0, "negative_prompt": "", "sampler": "", "seed": 7, "steps": 2, "strength": 1.0}
AREA = {"inpaint_area": "masked"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def noise(width, height, mode="RGB"):
    image = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (height, width, 3), numpy.uint8))
    return image.convert(mode)


def box_mask(width, height, *boxes, value=255):
    mask = Image.new("L", (width, height), 0)
    for box in boxes:
        ImageDraw.Draw(mask).rectangle(box, fill=value)
    return mask


def make_request(picture, mask, *, side=32, id="job", task=IMAGE_TO_IMAGE, **options):
    images = tuple(
        TaskImage(role, Media(png(image), "image/png")) for role, image in (("init", picture), ("mask", mask))
    )
    given = FIELDS | AREA | {"width": side, "height": side, "count": 1} | options
    return dataclasses.replace(make_task("a fox", id=id, options=given), task=task, images=images)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    loaded = {}

    def load(name):
        if name not in loaded:
            save, tasks = {
                "sd": (save_diffusion, (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)),
                "pix2pix": (save_editor, (IMAGE_TEXT_TO_IMAGE,)),
                "sd-inpaint": (save_sd_inpainter, (IMAGE_TO_IMAGE,)),
                "sdxl-inpaint": (save_sdxl_inpainter, (IMAGE_TO_IMAGE,)),
            }[name]
            folder = save(tmp_path_factory.mktemp("models") / name)
            loaded[name] = build_engine(make_model(name, tasks=tasks, repo=str(folder)))
            loaded[name].load_model("cpu")
        return loaded[name]

    yield load
    for engine in loaded.values():
        engine.unload_model()


def save_inpainter(folder, save, inpaint_class):
    """A model whose UNet also takes the mask and the masked image."""
    save(folder)
    config = {**UNet2DConditionModel.load_config(folder / "unet"), "in_channels": 9}
    torch.manual_seed(0)
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = inpaint_class.__name__
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def save_sd_inpainter(folder):
    return save_inpainter(folder, save_diffusion, StableDiffusionInpaintPipeline)


def save_sdxl_inpainter(folder):
    return save_inpainter(folder, save_sdxl, StableDiffusionXLInpaintPipeline)


def run_tasks(engine, *tasks):
    """The images of the tasks, by task."""
    for task in tasks:
        engine.add_task(task)
    made: dict[str, list[Any]] = {task.id: [] for task in tasks}
    left = len(tasks)
    while left:
        for event in engine.step():
            if isinstance(event, TaskFailed):
                raise event.error
            left -= isinstance(event, TaskDone)
            if isinstance(event, ImageReady):
                image = event.image
                pixels = numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, 3)
                made[event.task_id].append(pixels)
    return made


def run_task(engine, task):
    return run_tasks(engine, task)[task.id]


# ---------------------------------------------------------------- where the box is


@pytest.mark.parametrize(
    ("bounds", "picture", "size", "box"),
    [
        ((500, 500, 700, 700), (4000, 3000), (512, 384), (344, 408, 856, 792)),  # enlarged less than twice: as it is
        ((500, 500, 600, 600), (4000, 3000), (512, 384), (450, 475, 650, 625)),
        ((500, 500, 1300, 1300), (4000, 3000), (512, 384), (100, 300, 1700, 1500)),  # reduced
        ((10, 10, 15, 15), (4000, 3000), (512, 384), (0, 0, 128, 96)),  # at the border, enlarged at most 4 times
        ((3990, 2990, 4000, 3000), (4000, 3000), (512, 384), (3872, 2904, 4000, 3000)),
        ((0, 0, 4000, 3000), (4000, 3000), (512, 384), (0, 0, 4000, 3000)),
        ((300, 300, 3500, 2500), (4000, 3000), (512, 384), (0, 0, 4000, 3000)),  # nearly everything: all of it
        ((20, 20, 100, 100), (128, 128), (128, 128), (0, 0, 128, 128)),
        ((50, 50, 70, 70), (128, 128), (128, 128), (44, 44, 76, 76)),
        ((10, 10, 20, 20), (64, 64), (512, 512), (0, 0, 64, 64)),  # smaller than what is computed
        ((0, 0, 1000, 700), (1000, 700), (608, 424), (-2, 0, 1002, 700)),  # rounded to multiples of 8
        ((0, 0, 100, 800), (100, 800), (256, 1024), (-50, 0, 150, 800)),  # narrower than 1:4
    ],
)
def test_the_box_has_context_and_the_shape_of_the_computed_size(bounds, picture, size, box):
    found = crop_box(bounds, picture, size)

    assert found == box
    assert all(found[n] <= max(0, bounds[n]) for n in (0, 1))
    assert all(found[n] >= min(bounds[n], picture[n - 2]) for n in (2, 3))
    scale = (found[2] - found[0]) / size[0]
    assert abs((found[3] - found[1]) - scale * size[1]) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_the_box_contains_the_mask_in_pictures_of_every_shape(seed):
    rng = numpy.random.default_rng(seed)
    for _ in range(200):
        width, height = (int(side) for side in rng.integers(8, 3000, 2))
        across, down = (int(side) * 8 for side in rng.integers(8, 128, 2))
        size = (across, down)
        left, right = sorted(int(x) for x in rng.integers(0, width + 1, 2))
        top, bottom = sorted(int(y) for y in rng.integers(0, height + 1, 2))
        bounds = (left, top, max(right, left + 1), max(bottom, top + 1))

        box = crop_box(bounds, (width, height), size)

        assert all(box[n] <= bounds[n] for n in (0, 1))
        assert all(box[n] >= min(bounds[n], (width, height)[n - 2]) for n in (2, 3))


# ---------------------------------------------------------------- the result

PICTURES = {
    "larger": (noise(200, 120), box_mask(200, 120, (90, 40, 109, 59))),
    "of the model's size": (noise(32, 32), box_mask(32, 32, (8, 8, 15, 20))),
    "smaller": (noise(20, 18), box_mask(20, 18, (8, 8, 12, 12))),
    "tall": (noise(24, 200), box_mask(24, 200, (0, 100, 23, 180))),
    "a tiny mask": (noise(200, 120), box_mask(200, 120, (30, 30, 30, 30))),
    "a mask in every corner": (noise(80, 60), box_mask(80, 60, (0, 0, 9, 9), (70, 50, 79, 59))),
    "a mask of another size": (noise(80, 60), box_mask(40, 30, (4, 4, 12, 12))),
    "with alpha": (noise(80, 60, "RGBA"), box_mask(80, 60, (10, 10, 30, 30))),
    "a soft mask": (noise(80, 60), box_mask(80, 60, (10, 10, 30, 30), value=130)),
}


@pytest.mark.parametrize(
    ("model", "name"), [*(("sd", name) for name in PICTURES), ("pix2pix", "larger"), ("pix2pix", "with alpha")]
)
def test_the_picture_keeps_its_size_and_every_pixel_outside_the_mask(engines, model, name):
    picture, mask = PICTURES[name]
    task = IMAGE_TEXT_TO_IMAGE if model == "pix2pix" else IMAGE_TO_IMAGE

    (pixels,) = run_task(engines(model), make_request(picture, mask, task=task))

    start, marked = numpy.asarray(picture.convert("RGB")), numpy.asarray(mask.resize(picture.size, 2)) > 0
    assert pixels.shape == start.shape
    assert (pixels[~marked] == start[~marked]).all()
    assert (pixels[marked] != start[marked]).any()


def test_a_given_size_is_that_of_the_result(engines):
    picture, mask = PICTURES["larger"]

    (pixels,) = run_task(engines("sd"), make_request(picture, mask, inpaint_area="whole"))

    assert pixels.shape == (32, 32, 3)


STOCK = {
    "sd": StableDiffusionInpaintPipeline,
    "sd-inpaint": StableDiffusionInpaintPipeline,
    "sdxl-inpaint": StableDiffusionXLInpaintPipeline,
}


def run_stock(engine, name, image, mask):
    """The stock pipeline with the engine's components."""
    parts = engine._pipelines[""].components
    accepted = {"requires_safety_checker": False} if "safety_checker" in parts else {}
    stock = STOCK[name](**parts, **accepted)
    stock.set_progress_bar_config(disable=True)
    made = stock(
        prompt="a fox",
        image=image,
        mask_image=mask,
        width=32,
        height=32,
        num_inference_steps=2,
        guidance_scale=2.0,
        strength=1.0,
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
    )
    return (made.images[0] * 255).round().astype(numpy.uint8)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("sd", "larger"),
        ("sd", "of the model's size"),
        ("sd", "a mask in every corner"),
        ("sd-inpaint", "larger"),
        ("sdxl-inpaint", "larger"),
    ],
)
def test_the_part_equals_what_the_stock_pipeline_makes_of_the_crop(engines, model, name):
    task = make_request(*PICTURES[name])
    engine = engines(model)
    area = masked_area(task, (32, 32), cell=8)

    (pixels,) = run_task(engine, task)

    expected = area.paste(run_stock(engine, model, area.image, grow_to_cells(area.computed_mask, 8)))
    assert abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("model", ["sd-inpaint", "sdxl-inpaint"])
def test_a_model_for_inpainting_repaints_everything_without_a_mask(engines, model):
    picture = noise(32, 32)
    task = make_request(picture, box_mask(32, 32))
    task = dataclasses.replace(task, images=task.images[:1])

    (pixels,) = run_task(engines(model), task)

    expected = run_stock(engines(model), model, picture, Image.new("L", (32, 32), "white"))
    assert abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("model", ["sd", "sd-inpaint"])
def test_parts_of_different_pictures_share_passes_and_equal_those_alone(engines, model):
    engine = engines(model)
    tasks = [make_request(*PICTURES[name], id=f"job-{n}", count=1 + n % 2) for n, name in enumerate(list(PICTURES)[:3])]
    tasks.append(dataclasses.replace(tasks[0], id="no mask", images=tasks[0].images[:1]))
    if model == "sd":
        tasks.append(dataclasses.replace(tasks[0], id="plain", task=TEXT_TO_IMAGE, images=()))
    alone = {task.id: run_task(engine, task) for task in tasks}

    together = run_tasks(engine, *tasks)

    for task in tasks:
        for one, other in zip(alone[task.id], together[task.id], strict=True):
            assert abs(one.astype(int) - other).max() <= 1
