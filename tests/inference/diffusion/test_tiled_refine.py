"""Refinement in tiles against the formula, written out with stock modules: one noise field, a blended prediction."""

import itertools
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image

from bot.commands.refine_tiles import TILE_PROMPTS
from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import Task, TaskImage
from inference.diffusion import split_sequences
from inference.diffusion.samplers import Samplers
from inference.diffusion.tiles import tiled_autoencoder, tiled_refinement
from inference.diffusion.tiles.tiled_autoencoder import decode_in_tiles, encode_in_tiles
from inference.diffusion.tiles.tiled_refinement import TiledRefinement
from inference.engine.base import EngineEvent, ImageReady, StepDone, TaskDone, TaskFailed, build_engine
from inference.engine.cost_model import PassCostModel
from tests.inference.families import save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
SIDE, WIDTH, HEIGHT = 32, 72, 56
LEFTS, TOPS = (0, 16, 40), (0, 24)
CELL, STEPS, STRENGTH, GUIDANCE, SEED = 8, 4, 0.5, 4.0, 7
BOXES = [(left, top) for top, left in itertools.product(TOPS, LEFTS)]
PICTURE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (28, 36, 3), numpy.uint8))
TILE_TEXTS = [f"a red fox, {word}" for word in ("cat", "blue", "the", "on", "a", "what")]
SAVERS = {"sd": save_diffusion, "sdxl": save_sdxl, "z-image": save_z_image}


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
def written_out(engine, texts, *, sampler="", steps=STEPS, control=None):
    """What the refinement must give, by the engine's stock modules. `texts`: the prompt of each tile; `control`: a
    ControlNet for the tiles."""
    stock = engine._pipelines[""]
    is_xl = hasattr(stock, "text_encoder_2")
    prompts = [encode_text(stock, text, is_xl=is_xl) for text in texts]
    unet, vae = stock.unet, stock.vae
    scheduler = Samplers(stock.scheduler).create_scheduler(sampler)
    scheduler.set_timesteps(steps)
    skipped = steps - int(steps * STRENGTH)
    timesteps = scheduler.timesteps[skipped * scheduler.order :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped * scheduler.order)
    generator = torch.Generator("cpu").manual_seed(SEED)
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
            added: dict[str, Any] = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids}} if is_xl else {}
            if control is not None:
                crop = numpy.asarray(enlarged.crop((left, top, left + SIDE, top + SIDE)), numpy.float32) / 255
                shown = torch.from_numpy(crop).permute(2, 0, 1).expand(2, -1, -1, -1)
                down, middle = control(rows[cells(left, top)], t, states, shown, return_dict=False)
                added = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
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
    ("family", "sampler", "steps", "texts"),
    [
        ("sd", "", STEPS, None),
        ("sd", "dpmpp_2m", 6, TILE_TEXTS),  # three steps, of which the second knows the first
        ("sd", "euler_a", STEPS, None),
        ("sd", "heun", STEPS, TILE_TEXTS),
        ("sdxl", "unipc", 6, TILE_TEXTS),
    ],
)
def test_a_picture_in_tiles_is_the_written_out_formula(engines, family, sampler, steps, texts):
    options = {TILE_PROMPTS: texts} if texts else {}
    images, last = run_tasks(engines[family], refine(sampler=sampler, steps=steps, **options))

    expected = written_out(engines[family], texts or ["a red fox"] * len(BOXES), sampler=sampler, steps=steps)
    assert images["job"].shape == (HEIGHT, WIDTH, 3)
    assert difference(images["job"], expected) <= 1
    assert last["job"][0] == last["job"][1]


@pytest.mark.parametrize(("dtype", "levels"), [("float16", 3), ("bfloat16", 8)])
def test_in_half_precision_too(folders, dtype, levels):
    engine = open_engine(make_tiny(folders["sd"], dtype))

    images, _ = run_tasks(engine, refine(steps=6))

    assert difference(images["job"], written_out(engine, ["a red fox"] * len(BOXES), steps=6)) <= levels
    engine.unload_model()


def test_a_tile_control_sees_the_tile(engines, folders, tmp_path):
    torch.manual_seed(1)
    unet = engines["sd"]._pipelines[""].unet
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8)).eval()
    with torch.no_grad():
        for parameter in control.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
    control.save_pretrained(tmp_path)
    engine = open_engine(make_tiny(folders["sd"], controls={"tile": str(tmp_path)}))
    task = refine(**{TILE_PROMPTS: TILE_TEXTS})
    shown = replace(task.images[0], role="control", kind="tile", is_ready=True)

    images, _ = run_tasks(engine, replace(task, images=(*task.images, shown)))
    plain, _ = run_tasks(engines["sd"], task)

    assert difference(images["job"], written_out(engine, TILE_TEXTS, control=control)) <= 1
    assert difference(images["job"], plain["job"]) > 1
    engine.unload_model()


@pytest.fixture
def batches(engines, monkeypatch):
    """The rows of each pass, as (task, rows)."""
    made: list[list[tuple[str, int]]] = []
    loop = engines["sd"]._step_loop
    forward = loop._forward

    def record(batch):
        made.append([(sequence.task.id, sequence.rows) for sequence in batch])
        return forward(batch)

    monkeypatch.setattr(loop, "_forward", record)
    monkeypatch.setattr(PassCostModel, "best_size", lambda self, limit, unit=1: limit)
    return made


def test_tiles_share_passes_with_others_and_no_pass_is_full_of_one_picture(engines, batches, monkeypatch):
    monkeypatch.setattr(split_sequences, "PARTS_IN_FLIGHT", 4)
    alone, _ = run_tasks(engines["sd"], refine())
    batches.clear()
    other = make_task("a cat", id="other", options={**refine().options, "width": SIDE, "height": SIDE, "method": ""})

    images, _ = run_tasks(engines["sd"], refine(), refine("odd", size=(70, 52)), replace(other, fairness_key="other"))

    assert difference(images["job"], alone["job"]) <= 1
    assert difference(images["odd"], alone["job"][2:54, 1:71]) <= 1
    shared = [{task for task, _ in batch} for batch in batches]
    assert {"job", "odd", "other"} in shared
    assert max(sum(task == "job" for task, _ in batch) for batch in batches) == 4
    assert sum(len(batch) for batch in batches) == 2 * len(BOXES) * int(STEPS * STRENGTH) + STEPS


def test_a_long_step_shows_that_it_goes_on(engines, monkeypatch):
    """Or it would be taken for one that hangs."""
    monkeypatch.setattr(split_sequences, "PARTS_IN_FLIGHT", 1)
    engine, events = engines["sd"], list[EngineEvent]()
    engine.add_task(replace(refine(), model=engine._model))
    while not events or not isinstance(events[-1], TaskDone):
        events += engine.step()
    reports = [(event.step, event.steps) for event in events if isinstance(event, StepDone)]

    assert reports == [(1, 2)] * len(BOXES) + [(2, 2)]


def test_a_cancelled_picture_leaves_no_tiles_and_its_time_is_counted(engines):
    engine = engines["sd"]
    engine.add_task(replace(refine(), model=engine._model))
    engine.step()
    before = len(engine._step_loop)
    usage = engine.take_usage()

    engine.cancel_task("job")

    assert 0 < before <= len(BOXES)
    assert usage["job"] > 0
    assert len(engine._step_loop) == 0
    assert engine.step() == []


def test_without_memory_for_many_tiles_there_are_more_passes(engines, batches, monkeypatch):
    engine = engines["sd"]
    unet = engine._step_loop.modules["unet"].module
    forward = unet.forward

    def run_out(sample, *args, **kwargs):
        if len(sample) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return forward(sample, *args, **kwargs)

    expected, _ = run_tasks(engine, refine())
    monkeypatch.setattr(unet, "forward", run_out)
    images, _ = run_tasks(engine, refine())

    assert difference(images["job"], expected["job"]) <= 1
    assert engine._step_loop.max_rows <= 4
    engine._step_loop.max_rows = 0


def test_large_pictures_are_encoded_and_decoded_in_tiles_without_seams(monkeypatch):
    """An autoencoder whose cells depend on nothing else gives the same in tiles as whole."""
    monkeypatch.setattr(tiled_autoencoder, "MAX_PIXELS", 40 * 40)
    monkeypatch.setattr(tiled_autoencoder, "TILE_SIDE", 32)
    calls = []

    def encode(image):
        calls.append(image.shape)
        moments = torch.nn.functional.avg_pool2d(image, 8).repeat(1, 2, 1, 1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(latents, return_dict=True):
        calls.append(latents.shape)
        return (torch.nn.functional.interpolate(latents, scale_factor=8.0),)

    image = torch.rand(1, 4, HEIGHT, WIDTH)
    latents = torch.rand(1, 4, HEIGHT // 8, WIDTH // 8)
    encoded = encode_in_tiles(8)(encode)(image).latent_dist
    decoded = decode_in_tiles(8)(decode)(latents, return_dict=False)[0]

    assert {shape[2:] for shape in calls} == {(SIDE, SIDE), (SIDE // 8, SIDE // 8)}
    assert torch.allclose(encoded.mode(), torch.nn.functional.avg_pool2d(image, 8), atol=1e-6)
    assert torch.allclose(decoded, torch.nn.functional.interpolate(latents, scale_factor=8.0), atol=1e-6)
    assert decode_in_tiles(8)(decode)(latents[..., :4, :4])[0].shape[2:] == (32, 32)


def test_a_family_whose_tiles_are_not_known_refuses_in_a_sentence(engines, monkeypatch):
    engine = engines["sd"]
    refinement = next(one for one in engine._runner.extensions if isinstance(one, TiledRefinement))
    monkeypatch.setattr(tiled_refinement, "LATENT_ARGUMENTS", {})
    monkeypatch.delitem(vars(refinement), "_is_supported")

    assert refinement.capabilities() == {"refines_in_tiles": False}
    with pytest.raises(InvalidOption) as refused:
        engine.add_task(replace(refine(), model=engine._model))
    assert refused.value.problem == "model_lacks"


def test_z_image_refines_in_tiles_of_lists(folders):
    engine = open_engine(make_tiny(folders["z-image"], size_multiple=16))

    images, _ = run_tasks(engine, refine(size=(80, 48), guidance_scale=1.0, negative_prompt=""))

    assert engine.capabilities["refines_in_tiles"]
    assert images["job"].shape == (48, 80, 3)
    engine.unload_model()
