"""Refinement in tiles against the formula, written out with stock modules: one noise field, a blended prediction."""

import itertools
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

from bot.commands.refine_tiles import TILE_PROMPTS
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import Task, TaskImage
from inference.diffusion.loader import load_pipeline
from inference.diffusion.samplers import Samplers
from inference.engine.base import ImageReady, StepDone, TaskDone, TaskFailed, build_engine
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
SIDE, WIDTH, HEIGHT = 32, 72, 56
LEFTS, TOPS = (0, 16, 40), (0, 24)
CELL, STEPS, STRENGTH, GUIDANCE, SEED = 8, 6, 0.5, 4.0, 7
BOXES = [(left, top) for top, left in itertools.product(TOPS, LEFTS)]
PICTURE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (28, 36, 3), numpy.uint8))
TILE_TEXTS = [f"a red fox, {word}" for word in ("cat", "blue", "the", "on", "a", "what")]
SAVERS = {"sd": save_diffusion, "sdxl": save_sdxl, "z-image": save_z_image, "klein": save_klein}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name) for name, save in SAVERS.items()}


def make_tiny(folder, dtype="float32", **settings):
    sizes = {"width": SIDE, "height": SIDE, "min_size": 16, "max_size": SIDE, "size_multiple": CELL}
    tasks = {"tasks": (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)}
    return make_model("tiny", repo=str(folder), dtype=dtype, **{**sizes, **tasks, **settings})


def open_engine(model):
    engine = build_engine(model)
    engine.load_model("cpu")
    return engine


@pytest.fixture(scope="module")
def engines(folders):
    loaded = {name: open_engine(make_tiny(folders[name])) for name in ("sd", "sdxl")}
    yield loaded
    for engine in loaded.values():
        engine.unload_model()


def refine(id="job", *, size=(WIDTH, HEIGHT), **options) -> Task:
    defaults = {
        "method": "refine", "steps": STEPS, "strength": STRENGTH, "guidance_scale": GUIDANCE, "seed": SEED,
        "negative_prompt": "cat", "sampler": "", "width": size[0], "height": size[1],
    }  # fmt: skip
    images = (TaskImage("init", Media(png(PICTURE), "image/png")),)
    task = make_task("a red fox", id=id, options=defaults | options, command="upscale", task=IMAGE_TO_IMAGE)
    return replace(task, images=images, fairness_key=id)


def run_tasks(engine, *tasks):
    """Each task's image and its last step, by task id."""
    images, steps, left = {}, {}, {task.id for task in tasks}
    for task in tasks:
        engine.add_task(replace(task, model=engine._model))
    while left:
        for event in engine.step():
            if isinstance(event, TaskFailed):
                raise event.error
            if isinstance(event, ImageReady):
                one = event.image
                images[event.task_id] = numpy.frombuffer(one.pixels, numpy.uint8).reshape(one.height, one.width, 3)
            if isinstance(event, StepDone):
                steps[event.task_id] = (event.step, event.steps)
            if isinstance(event, TaskDone):
                left.discard(event.task_id)
    return images, steps


# ---------------------------------------------------------------- the formula


def window():
    ramp = numpy.sin(numpy.pi * (numpy.arange(SIDE // CELL) + 0.5) / (SIDE // CELL)) ** 2
    return torch.tensor(numpy.outer(ramp, ramp), dtype=torch.float32)


def cells(left, top):
    return (..., slice(top // CELL, (top + SIDE) // CELL), slice(left // CELL, (left + SIDE) // CELL))


def encode_text(stock, text, *, is_xl):
    encoded = stock.encode_prompt(
        text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt="cat"
    )
    prompt, negative, *pooled = encoded
    return torch.cat([negative, prompt]), torch.cat([pooled[1], pooled[0]]) if is_xl else None


@torch.no_grad()
def written_out(folder, texts, *, sampler="", dtype="float32", steps=STEPS, seed=SEED):
    """What the refinement must give: the prompt of each tile, row by row."""
    stock = load_pipeline(make_tiny(folder, dtype), folder, "cpu")
    is_xl = hasattr(stock, "text_encoder_2")
    prompts = [encode_text(stock, text, is_xl=is_xl) for text in texts]
    unet, vae = stock.unet, stock.vae
    scheduler = Samplers(stock.scheduler).create_scheduler(sampler)
    scheduler.set_timesteps(steps)
    skipped = steps - int(steps * STRENGTH)
    timesteps = scheduler.timesteps[skipped * scheduler.order :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped * scheduler.order)
    generator = torch.Generator("cpu").manual_seed(seed)
    enlarged = PICTURE.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    pixels = stock.image_processor.preprocess(enlarged).to(unet.dtype)
    latents = vae.encode(pixels).latent_dist.sample(generator) * vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=generator, dtype=unet.dtype)
    latents = scheduler.add_noise(latents, noise, timesteps[:1])
    extra = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
    for t in timesteps:
        rows = scheduler.scale_model_input(torch.cat([latents] * 2), t)
        total, weights = torch.zeros(rows.shape), torch.zeros(latents.shape)
        for (left, top), (states, pooled) in zip(BOXES, prompts, strict=True):
            ids = torch.tensor([[HEIGHT, WIDTH, top, left, SIDE, SIDE]] * 2, dtype=unet.dtype)
            added = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids}} if is_xl else {}
            predicted = unet(rows[cells(left, top)], t, encoder_hidden_states=states, **added).sample
            total[cells(left, top)] += predicted.float() * window()
            weights[cells(left, top)] += window()
        without, with_prompt = (total / weights).to(unet.dtype).chunk(2)
        guided = without + GUIDANCE * (with_prompt - without)
        latents = scheduler.step(guided, t, latents, **extra).prev_sample
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    image = stock.image_processor.postprocess(decoded, output_type="np")[0]
    return (image * 255).round().astype(numpy.uint8)


def difference(one, other):
    return int(numpy.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("family", "sampler", "texts"),
    [
        ("sd", "", None),
        ("sd", "dpmpp_2m", TILE_TEXTS),
        ("sd", "euler_a", None),
        ("sd", "heun", TILE_TEXTS),
        ("sdxl", "", TILE_TEXTS),
        ("sdxl", "unipc", None),
    ],
)
def test_a_picture_in_tiles_is_the_written_out_formula(engines, folders, family, sampler, texts):
    options = {TILE_PROMPTS: texts} if texts else {}
    images, steps = run_tasks(engines[family], refine(sampler=sampler, **options))

    expected = written_out(folders[family], texts or ["a red fox"] * len(BOXES), sampler=sampler)
    assert images["job"].shape == (HEIGHT, WIDTH, 3)
    assert difference(images["job"], expected) <= 1
    assert steps["job"][0] == steps["job"][1]
