"""Each family that a preset names runs through the engine, with the preset's own options."""

import inspect
from dataclasses import replace

import diffusers
import pytest
import torch
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from composition.settings import shipped_models
from inference.checkpoints import identify
from inference.diffusion.engine import DiffusionEngine
from inference.engine.base import EngineEvent, ImageReady, StepDone, TaskDone
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.support import make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
FAMILIES = {
    "sd-turbo": (save_diffusion, "StableDiffusionPipeline"),
    "sdxl": (save_sdxl, "StableDiffusionXLPipeline"),
    "sdxl-turbo": (save_sdxl, "StableDiffusionXLPipeline"),
    "flux2-klein-4b": (save_klein, "Flux2KleinPipeline"),
    "z-image-turbo": (save_z_image, "ZImagePipeline"),
}
PRESETS = shipped_models()
RUNS = [(name, task) for name in FAMILIES for task in PRESETS[name].tasks]


def test_z_image_turbo_makes_the_eight_passes_that_it_was_distilled_for():
    steps = PRESETS["z-image-turbo"].steps
    sigmas = get_default_z_image_sigmas(steps)

    assert (len(sigmas), steps) == (8, 8)
    assert min(sigmas) > 0  # a last step from 0 to 0 would be no pass: then 9 steps would make 8


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """By preset, loaded when first asked for."""
    loaded = {}

    def engine_for(name):
        if name not in loaded:
            folder = FAMILIES[name][0](tmp_path_factory.mktemp("families") / name)
            spec = replace(PRESETS[name], repo=str(folder), variant="", dtype="float32", loras=(), revision="")
            loaded[name] = DiffusionEngine(spec)
            loaded[name].load_model("cpu")
        return loaded[name]

    yield engine_for
    for engine in loaded.values():
        engine.unload_model()


def generate(engine, spec, task, *, seed=3, start="teal"):
    """The image, and how many steps were reported."""
    options = {
        "steps": 4, "guidance_scale": spec.guidance_scale, "width": 64, "height": 64, "negative_prompt": "",
        "sampler": "", "count": 1, "seed": seed,
    }  # fmt: skip
    images: tuple[TaskImage, ...] = ()
    if task == IMAGE_TO_IMAGE:
        options["strength"] = 0.3
    if task != TEXT_TO_IMAGE:
        images = (TaskImage("init", Media(png(Image.new("RGB", (64, 64), start)), "image/png")),)
    engine.add_task(make_task("a red fox", task=task, model=spec, options=options, images=images))
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], TaskDone)):
        events += engine.step()
    (image,) = [event.image for event in events if isinstance(event, ImageReady)]
    return image, sum(isinstance(event, StepDone) for event in events)


@pytest.mark.parametrize(("name", "task"), RUNS)
def test_it_generates_the_requested_size_and_a_seed_is_reproducible(engines, name, task):
    spec = PRESETS[name]
    image, steps = generate(engines(name), spec, task)
    again, _ = generate(engines(name), spec, task)
    other, _ = generate(engines(name), spec, task, seed=4)

    assert (image.width, image.height) == (64, 64)
    assert steps
    assert image.pixels == again.pixels
    assert image.pixels != other.pixels
    if task != TEXT_TO_IMAGE:
        assert generate(engines(name), spec, task, start="orange")[0].pixels != image.pixels


@pytest.mark.parametrize("name", FAMILIES)
def test_a_preset_only_offers_options_that_its_pipeline_supports(name):
    spec, known = PRESETS[name], identify.identify_class(FAMILIES[name][1])
    pipeline = getattr(diffusers, FAMILIES[name][1])
    accepted = set(inspect.signature(pipeline.__call__).parameters)

    assert set(spec.tasks) <= set(known.tasks)
    assert {"width", "height", "num_inference_steps", "generator"} <= accepted
    if spec.takes_negative:
        assert "negative_prompt" in accepted
    if spec.takes_guidance:
        assert "guidance_scale" in accepted
    if IMAGE_TEXT_TO_IMAGE in spec.tasks:
        assert "image" in accepted
    assert spec.width % spec.size_multiple == 0
    assert spec.steps <= spec.max_steps
