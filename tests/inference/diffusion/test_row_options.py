"""Options of single images: every image of a mixed stream is what its stock pipeline gives alone.

Hires fix, variation seeds, CFG rescale, clip skip, sigma schedules and seamless tiling, on tiny models.
"""

import copy
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import Task, TaskImage
from inference.diffusion.hires import schedule_steps
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_variants import FROM_IMAGE, pipeline_variant
from inference.diffusion.samplers import Samplers
from inference.diffusion.variation import slerp
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed, build_engine
from inference.engine.cost_model import PassCostModel
from inference.ipc.environment import ROOT
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
PICTURE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (32, 32, 3), numpy.uint8))
STEPS = 3


@dataclass
class Family:
    """A loaded engine, and a stock pipeline of its own with the same weights."""

    folder: Path
    engine: Any
    stock: Any


def load_family(folder, dtype="float32", **settings):
    settings = {"tasks": (TEXT_TO_IMAGE, IMAGE_TO_IMAGE), "size_multiple": 8, "max_size": 256} | settings
    model = make_model("tiny", repo=str(folder), dtype=dtype, **settings)
    engine = build_engine(model)
    engine.load_model("cpu")
    stock = load_pipeline(model, folder, "cpu")
    stock.set_progress_bar_config(disable=True)
    return Family(folder, engine, stock)


def save_sd(folder):
    """With two layers in the text encoder, so that one can be left out."""
    saved = save_diffusion(folder)
    config = CLIPTextConfig.from_pretrained(saved / "text_encoder", num_hidden_layers=2)
    torch.manual_seed(1)
    CLIPTextModel(config).save_pretrained(saved / "text_encoder")
    return saved


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    loaded = {"sd": load_family(save_sd(folder / "sd")), "sdxl": load_family(save_sdxl(folder / "sdxl"))}
    yield loaded
    for family in loaded.values():
        family.engine.unload_model()


def make_request(id="job", *, init=False, **options) -> Task:
    defaults: dict[str, Any] = {
        "steps": STEPS, "guidance_scale": 4.0, "width": 32, "height": 32, "negative_prompt": "cat", "sampler": "",
    }  # fmt: skip
    task = make_task("a red fox", id=id, options=defaults | options)
    if not init:
        return task
    options = {"strength": 0.7, **task.options}
    images = (TaskImage("init", Media(png(PICTURE), "image/png")),)
    return replace(task, task=IMAGE_TO_IMAGE, options=options, images=images)


def run_tasks(engine, *tasks):
    """Each task's image, by task id."""
    images, left = {}, {task.id for task in tasks}
    for task in tasks:
        engine.add_task(replace(task, model=engine._model))
    while left:
        events: list[EngineEvent] = list(engine.step())
        for event in events:
            if isinstance(event, ImageReady):
                image = event.image
                images[event.task_id] = numpy.frombuffer(image.pixels, numpy.uint8).reshape(
                    image.height, image.width, 3
                )
            elif isinstance(event, TaskFailed):
                raise event.error
            elif isinstance(event, TaskDone):
                left.discard(event.task_id)
    return images


# ---------------------------------------------------------------- the stock pipelines by hand


def run_stock(family, task: Task, *, seed=None, noise=None):
    """What the stock pipelines give for the task."""
    options = task.options
    if options.get("hires"):
        return run_stock_hires(family, task)
    kind = FROM_IMAGE if task.task == IMAGE_TO_IMAGE else ""
    pipeline = copy.copy(pipeline_variant(family.stock, kind) if kind else family.stock)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = Samplers(family.stock.scheduler).create_scheduler(
        options.get("sampler", ""), options.get("schedule", "")
    )
    arguments = {
        "prompt": options["prompt"],
        "negative_prompt": options["negative_prompt"] or None,
        "num_inference_steps": options["steps"],
        "guidance_scale": options["guidance_scale"],
        "generator": torch.Generator("cpu").manual_seed(options["seed"] if seed is None else seed),
        "output_type": "np",
    }
    if kind:
        arguments |= {"image": init_of(task), "strength": options["strength"]}
    else:
        arguments |= {"width": options["width"], "height": options["height"]}
    if options.get("guidance_rescale"):
        arguments["guidance_rescale"] = options["guidance_rescale"]
    if options.get("clip_skip", 1) > 1:
        arguments["clip_skip"] = options["clip_skip"] - 1
        # Transformers 5 has no inner `text_model`, which this argument of the stock pipeline still looks up.
        family.stock.text_encoder.__dict__["text_model"] = family.stock.text_encoder
    if noise is not None:
        arguments["latents"] = noise(arguments["generator"])
    return (pipeline(**arguments).images[0] * 255).round().astype(numpy.uint8)


def init_of(task):
    return Image.open(io.BytesIO(next(image.media.data for image in task.images if image.role == "init")))


def run_stock_hires(family, task: Task):
    """Text to image, Lanczos, image to image with the same seed."""
    options = dict(task.options)
    factor = options.pop("hires")
    strength = options.pop("strength", 0.5) if task.task != IMAGE_TO_IMAGE else 0.5
    first = run_stock(family, replace(task, options=options | ({"strength": 0.7} if task.images else {})))
    size = tuple(round(options[side] * factor / 8) * 8 for side in ("width", "height"))
    enlarged = Image.fromarray(first).resize(size, Image.Resampling.LANCZOS)
    steps = next(count for count in range(1, 1000) if int(count * strength) == options["steps"])
    second = options | {"strength": strength, "steps": steps, "width": size[0], "height": size[1]}
    images = (TaskImage("init", Media(png(enlarged), "image/png")),)
    return run_stock(family, replace(task, task=IMAGE_TO_IMAGE, options=second, images=images))


def levels_apart(image, other):
    return int(numpy.abs(image.astype(int) - other.astype(int)).max())


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rescaled": {"guidance_rescale": 0.7, "sampler": "euler_a"},
    "clip skip": {"clip_skip": 2},
    "karras": {"sampler": "dpmpp_2m", "schedule": "karras"},
    "beta": {"sampler": "euler", "schedule": "beta"},
    "trailing": {"sampler": "euler", "schedule": "sgm_uniform"},
    "sde": {"sampler": "dpmpp_2m_sde", "schedule": "karras"},
    "two evaluations": {"sampler": "dpm2"},
    "from an image": {"init": True, "clip_skip": 2, "sampler": "euler", "schedule": "simple"},
    "hires karras": {"hires": 2.0, "sampler": "dpmpp_2m", "schedule": "karras", "strength": 0.6},
    "hires from an image": {"hires": 1.25, "init": True},
}


STREAMS = {
    "sd": ("plain", "rescaled", "beta", "trailing", "sde", "two evaluations", "from an image", "hires karras"),
    "sdxl": ("plain", "rescaled", "clip skip", "karras", "hires from an image"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_image_of_a_mixed_stream_is_that_of_the_stock_pipeline(families, name):
    family = families[name]
    tasks = [make_request(id, seed=number, **REQUESTS[id]) for number, id in enumerate(STREAMS[name])]
    images = run_tasks(family.engine, *tasks)

    apart = {task.id: levels_apart(images[task.id], run_stock(family, task)) for task in tasks}
    assert {id: levels for id, levels in apart.items() if levels > 1} == {}


def test_options_make_a_difference(families):
    engine = families["sd"].engine
    images = run_tasks(engine, *(make_request(id, **options) for id, options in REQUESTS.items() if "hires" not in id))
    plain = images.pop("plain")

    assert all(levels_apart(image, plain) > 1 for image in images.values())


def test_half_precision_is_within_a_few_levels(tmp_path):
    family = load_family(save_sdxl(tmp_path / "half"), "float16")
    tasks = [
        make_request("rescaled", guidance_rescale=0.7, steps=2),
        make_request("hires", hires=1.5, sampler="euler", schedule="karras", steps=2),
        make_request("varied", variation_seed=3, variation_strength=0.3, steps=2),
    ]
    images = run_tasks(family.engine, *tasks)
    alone = [run_stock(family, task) for task in tasks[:2]]

    assert [levels_apart(images[task.id], image) <= 2 for task, image in zip(tasks, alone, strict=False)] == [True] * 2
    assert images["varied"].any()
    family.engine.unload_model()


# ---------------------------------------------------------------- variation seeds


@pytest.mark.parametrize(("name", "init"), [("sd", True), ("sdxl", False)])
def test_the_ends_of_a_variation_are_the_pictures_of_the_two_seeds(families, name, init):
    plain = {"sampler": "euler_a", "steps": 2, "init": init}
    request = {"seed": 5, "variation_seed": 9, **plain}
    images = run_tasks(
        families[name].engine,
        make_request("none", variation_strength=0.0, **request),
        make_request("some", variation_strength=0.4, **request),
        make_request("all", variation_strength=1.0, **request),
        make_request("own", seed=5, **plain),
        make_request("other", seed=9, **plain),
    )

    assert levels_apart(images["none"], images["own"]) <= 1  # different batches round differently
    assert levels_apart(images["all"], images["other"]) <= 1
    assert levels_apart(images["some"], images["own"]) > 1
    assert levels_apart(images["some"], images["other"]) > 1


def test_a_variation_is_the_stock_pipelines_picture_of_the_mixed_noise(families):
    task = make_request(seed=5, variation_seed=9, variation_strength=0.25, sampler="euler_a")

    def mixed(generator):
        own = torch.randn(1, 4, 4, 4, generator=generator)
        return slerp(own, torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(9)), 0.25)

    image = run_tasks(families["sd"].engine, task)["job"]
    assert levels_apart(image, run_stock(families["sd"], task, noise=mixed)) <= 1


def test_picture_k_varies_with_the_variation_seed_plus_k(families):
    engine = families["sd"].engine
    events: list[EngineEvent] = []
    task = make_request(count=2, seed=5, variation_seed=9, variation_strength=0.3)
    engine.add_task(replace(task, model=engine._model))
    while not any(isinstance(event, TaskDone) for event in events):
        events += engine.step()
    second = next(event.image for event in events if isinstance(event, ImageReady) and event.image.index == 1)
    alone = run_tasks(engine, make_request(seed=6, variation_seed=10, variation_strength=0.3))["job"]

    assert second.pixels == alone.tobytes()


def test_mixed_noise_keeps_its_variance():
    one, other = (torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))

    assert slerp(one, other, 0.5).std() == pytest.approx(1.0, abs=0.05)
    assert torch.allclose(slerp(one, other, 0.0), one)
    assert torch.allclose(slerp(one, other, 1.0), other)
    assert torch.allclose(slerp(one, one, 0.5), one)


# ---------------------------------------------------------------- tiling


def make_stock_seamless(pipeline, is_circular):
    make_circular(pipeline.unet, is_circular)
    make_circular(pipeline.vae, is_circular)


def make_circular(module, is_circular):
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.padding_mode = "circular" if is_circular else "zeros"


def test_seamless_pictures_are_those_of_a_stock_pipeline_with_circular_padding(families):
    family = families["sd"]
    tasks = [make_request(f"{number}", seed=number, tiling=number % 2 == 0) for number in range(4)]
    images = run_tasks(family.engine, *tasks)

    for task in tasks:
        make_stock_seamless(family.stock, task.options["tiling"])
        try:
            assert levels_apart(images[task.id], run_stock(family, task)) <= 1
        finally:
            make_stock_seamless(family.stock, False)


def test_opposite_edges_of_the_starters_seamless_pictures_meet():
    model = shipped_starter()
    engine = build_engine(model)
    engine.load_model("cpu")
    drawn = {
        "width": 128,
        "height": 128,
        "steps": 6,
        "negative_prompt": "",
        "prompt": "a red car on a green background",
    }
    images = run_tasks(engine, make_request("seamless", tiling=True, **drawn))
    engine.unload_model()

    pixels = images["seamless"].astype(float)
    for axis in (0, 1):
        across = numpy.abs(pixels.take(0, axis) - pixels.take(-1, axis)).mean()
        inside = numpy.abs(numpy.diff(pixels, axis=axis)).mean()
        assert across <= 1.5 * inside


def shipped_starter():
    return make_model("starter", tasks=(TEXT_TO_IMAGE,), repo=str(ROOT / "models" / "starter-image"), size_multiple=16)


def test_images_with_and_without_tiling_never_share_a_pass(families, monkeypatch):
    engine, batches = families["sd"].engine, []
    forward = engine._step_loop._forward

    def record(batch):
        batches.append({sequence.task.id for sequence in batch})
        return forward(batch)

    monkeypatch.setattr(engine._step_loop, "_forward", record)
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)
    run_tasks(engine, make_request("tiled 1", tiling=True), make_request("tiled 2", tiling=True), make_request("plain"))

    assert {"tiled 1", "tiled 2"} in batches
    assert all("plain" not in batch or len(batch) == 1 for batch in batches)


# ---------------------------------------------------------------- with a control


def test_both_passes_of_hires_fix_are_controlled_and_seamless(families, tmp_path):
    stock = families["sd"].stock
    torch.manual_seed(4)
    control = ControlNetModel.from_unet(stock.unet, conditioning_embedding_out_channels=(8, 8, 8, 8)).eval()
    with torch.no_grad():
        for block in (*control.controlnet_down_blocks, control.controlnet_mid_block):
            torch.nn.init.normal_(block.weight, std=0.3)
    control.save_pretrained(tmp_path / "canny")
    family = load_family(families["sd"].folder, controls={"canny": str(tmp_path / "canny")})
    task = make_request(hires=1.5, tiling=True, strength=0.5)
    task = replace(task, images=(TaskImage("control", Media(png(PICTURE), "image/png"), "canny", is_ready=True),))
    image = run_tasks(family.engine, task)["job"]
    family.engine.unload_model()

    assert levels_apart(image, run_stock_control(stock, control, task)) <= 1


def run_stock_control(stock, control, task):
    options = task.options
    parts = {**stock.components, "controlnet": control}
    arguments = {
        "prompt": options["prompt"],
        "negative_prompt": options["negative_prompt"],
        "guidance_scale": options["guidance_scale"],
        "output_type": "pil",
        "controlnet_conditioning_scale": 1.0,  # 0.8 by default where it starts from an image
    }
    for module in (stock.unet, stock.vae, control):
        make_circular(module, True)
    try:
        first = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
        drawn = first(
            **arguments, image=PICTURE, num_inference_steps=STEPS, width=32, height=32,
            generator=torch.Generator().manual_seed(options["seed"]),
        ).images[0]  # fmt: skip
        second = StableDiffusionControlNetImg2ImgPipeline(**parts, requires_safety_checker=False)
        refined = second(
            **arguments, image=drawn.resize((48, 48), Image.Resampling.LANCZOS), num_inference_steps=2 * STEPS,
            control_image=PICTURE.resize((48, 48), Image.Resampling.LANCZOS), strength=0.5, width=48, height=48,
            generator=torch.Generator().manual_seed(options["seed"]),
        ).images[0]  # fmt: skip
    finally:
        for module in (stock.unet, stock.vae, control):
            make_circular(module, False)
    return numpy.asarray(refined)


# ---------------------------------------------------------------- shared passes, and what is refused


def test_both_passes_of_hires_fix_are_shared(families, monkeypatch):
    engine, batches = families["sd"].engine, []
    forward = engine._step_loop._forward

    def record(batch):
        batches.append({sequence.task.id for sequence in batch})
        return forward(batch)

    monkeypatch.setattr(engine._step_loop, "_forward", record)
    monkeypatch.setattr(engine, "_decode_thread", None)  # it decodes between two passes, so none is missed
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)
    sizes = {"small": {"width": 32, "height": 32}, "large": {"width": 48, "height": 48}}
    run_tasks(
        engine, make_request("hires", hires=1.5), *(make_request(id, steps=8, **size) for id, size in sizes.items())
    )

    assert {"hires", "small"} in batches
    assert {"hires", "large"} in batches


def test_the_refinement_makes_as_many_steps_as_the_first_pass():
    for strength in (0.1, 0.29, 0.3, 0.5, 0.57, 0.75, 1.0):
        assert int(schedule_steps(20, strength) * strength) == 20
    assert schedule_steps(40, 0.5, "lcm") == 50


def test_a_model_says_which_options_it_supports(families):
    capabilities = families["sd"].engine.capabilities
    options = {"guidance_rescale", "clip_skip", "tiling", "schedule", "variation_seed", "variation_strength", "hires"}

    assert options <= set(capabilities["options"])
    assert options - {"guidance_rescale"} == set(capabilities["image_options"])
    assert capabilities["clip_skip"] == 2
    assert capabilities["schedules"]["ddim"] == ["simple", "sgm_uniform"]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"clip_skip": 3}, "clip_skip"),
        ({"sampler": "ddim", "schedule": "karras"}, "schedule"),
        ({"guidance_rescale": 0.5, "init": True}, "guidance_rescale"),
        ({"guidance_rescale": 0.5, "hires": 1.5}, "guidance_rescale"),
    ],
)
def test_what_the_model_lacks_is_refused(families, options, option):
    with pytest.raises(InvalidOption) as refused:
        families["sd"].engine.add_task(make_request(**options))

    assert refused.value.option == option


# ---------------------------------------------------------------- flow matching


def test_flow_matching_has_variations_schedules_and_hires_fix(tmp_path):
    family = load_family(save_z_image(tmp_path / "flow"))
    plain = {"guidance_scale": 1.0, "negative_prompt": "", "seed": 5}
    varied = {**plain, "variation_seed": 9}
    tasks = [
        make_request("own", **plain),
        make_request("other", **plain | {"seed": 9}),
        make_request("some", variation_strength=0.5, **varied),
        make_request("all", variation_strength=1.0, **varied),
        make_request("beta", schedule="beta", **plain),
        make_request("simple", schedule="simple", **plain),
        make_request("hires", hires=1.5, **plain),
    ]
    images = run_tasks(family.engine, *tasks)
    options = family.engine.capabilities["row_options"]
    family.engine.unload_model()

    for first, second in (("other", "all"), ("own", "simple")):
        assert levels_apart(images[first], images[second]) <= 1
    assert min(levels_apart(images["some"], images[end]) for end in ("own", "other")) > 1
    assert levels_apart(images["beta"], images["own"]) > 1
    assert not {"guidance_rescale", "clip_skip", "tiling"} & set(options)
    assert images["hires"].shape == (48, 48, 3)


def test_packed_latents_are_varied_too(tmp_path):
    family = load_family(save_klein(tmp_path / "flow"), tasks=(TEXT_TO_IMAGE,))
    request = {"guidance_scale": 1.0, "negative_prompt": "", "steps": 1, "variation_seed": 9}
    images = run_tasks(family.engine, *(make_request(f"{w}", variation_strength=w, **request) for w in (0.0, 0.5, 1.0)))
    options = family.engine.capabilities["row_options"]
    family.engine.unload_model()

    assert min(levels_apart(images["0.5"], images[end]) for end in ("0.0", "1.0")) > 1
    assert "hires" not in options
