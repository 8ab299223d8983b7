"""The presets of 2026 as tiny models: their settings, requests for them, and what their engines paint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy
import pytest
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21 as qwen_21
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task, TaskImage
from composition.settings import shipped_models
from inference.diffusion.engine import DiffusionEngine
from inference.engine.base import ImageReady, TaskDone, TaskFailed
from tests.inference.families import save_klein, save_sdxl
from tests.inference.recent_families import (
    save_ernie,
    save_klein_kv,
    save_krea2,
    save_qwen_edit,
    save_qwen_image_21,
)
from tests.inference.stream import generate_alone
from tests.inference.support import make_task, png
from tests.inference.tiny import save_diffusion

PRESETS = shipped_models()
FOLDERS = {
    "flux2-klein-9b": save_klein,
    "flux2-klein-9b-kv": save_klein_kv,
    "krea-2-turbo": save_krea2,
    "qwen-image-2-1": save_qwen_image_21,
    "qwen-image-edit-2511": save_qwen_edit,
    "ernie-image-turbo": save_ernie,
}


def make_folders(tmp_path_factory):
    """Returns a function of a preset's name, whose folder is made when first asked for."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = FOLDERS[name](tmp_path_factory.mktemp("recent") / name)
        return made[name]

    return folder


PADDED = ("flux2-klein-9b", "flux2-klein-9b-kv", "krea-2-turbo")
"""Whose prompts are padded to one length."""
WITH_LORA = {"sdxl-lcm": save_sdxl, "sd15-lcm": save_diffusion}
SHORT, LONG = "a red fox on the blue background", "a blue cat on the red background , what is a fox ?"


def spec_of(name: str, folder: Any, **changes: Any) -> ModelSpec:
    own: dict[str, Any] = {"repo": str(folder), "dtype": "float32", "loras": (), "revision": ""}
    return replace(PRESETS[name], **(own | changes))


def load_engine(spec: ModelSpec) -> DiffusionEngine:
    engine = DiffusionEngine(spec)
    engine.load_model("cpu")
    if spec.name in PADDED:
        shorten_prompts(engine._pipelines[""])
    return engine


@contextmanager
def small_references() -> Iterator[None]:
    """Qwen's pipelines enlarge references to a megapixel; here to 64 x 64 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        dimensions = qwen_21.calculate_dimensions
        patch.setattr(qwen_21, "calculate_dimensions", lambda area, ratio: dimensions(area / 256, ratio))
        patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
        patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
        yield


def shorten_prompts(pipeline: Any) -> None:
    """Pad prompts to 64 tokens; 512 would be most of the work."""
    encode = pipeline.encode_prompt
    pipeline.encode_prompt = lambda **arguments: encode(**(arguments | {"max_sequence_length": 64}))


def picture(colour: str) -> Media:
    gradient = Image.linear_gradient("L").resize((64, 64))
    return Media(
        png(Image.composite(Image.new("RGB", (64, 64), colour), gradient.convert("RGB"), gradient)), "image/png"
    )


def request(name: str, id: str, prompt: str, *colours: str, seed: int = 1, **options: Any) -> Task:
    spec = PRESETS[name]
    given = {
        "steps": 3, "guidance_scale": spec.guidance_scale, "width": 64, "height": 64, "negative_prompt": "",
        "sampler": "", "count": 1, "seed": seed,
    }  # fmt: skip
    images = tuple(
        TaskImage(role, picture(colour)) for role, colour in zip(("init", "reference"), colours, strict=False)
    )
    task = IMAGE_TEXT_TO_IMAGE if colours else TEXT_TO_IMAGE
    return make_task(prompt, id=id, task=task, model=spec, options=given | options, images=images)


def two_people(name: str) -> list[Task]:
    """Two requests of different prompts, seeds and numbers of steps; edits if the model only edits."""
    colours = () if TEXT_TO_IMAGE in PRESETS[name].tasks else ("red",)
    return [request(name, "one", SHORT, *colours), request(name, "other", LONG, *colours, seed=2, steps=4)]


def paint(engine: DiffusionEngine, tasks: list[Task]) -> dict[str, Any]:
    """Pixels by task."""
    for task in tasks:
        engine.add_task(task)
    painted: dict[str, Any] = {}
    done = 0
    while done < len(tasks):
        for event in engine.step():
            if isinstance(event, TaskFailed):
                raise event.error
            done += isinstance(event, TaskDone)
            if isinstance(event, ImageReady):
                pixels = numpy.frombuffer(event.image.pixels, numpy.uint8).astype(int)
                painted[event.task_id] = pixels.reshape(event.image.height, event.image.width, 3)
    return painted


def assert_as_alone(engine: DiffusionEngine, tasks: list[Task], painted: dict[str, Any], levels: int = 1) -> None:
    for task in tasks:
        alone = generate_alone(engine._pipelines[""], task).pixels.astype(int)
        assert alone.std() > 5
        assert numpy.abs(painted[task.id] - alone).max() <= levels, task.id
