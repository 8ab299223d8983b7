"""References through IP-Adapters: each image is what the stock pipeline alone makes, in passes with any others."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy
import pytest
import torch
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ControlSource
from bot.ports import TaskAddon, TaskImage
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.pipeline_call import generate
from inference.diffusion.pipeline_variants import pipeline_variant
from inference.diffusion.samplers import Samplers
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.families import save_sdxl
from tests.inference.ip_adapters import save_image_encoder, save_ip_adapter
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
FAMILIES = {"sd": save_diffusion, "sdxl": save_sdxl}


def picture(seed: int) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 256, (40, 32, 3), numpy.uint8))


RED, BLUE = picture(1), picture(2)
LEFT_HALF = Image.new("L", (40, 32), 0)
LEFT_HALF.paste(255, (0, 0, 20, 32))


def refer(image: Image.Image, kind: str, weight: float = 1.0) -> TaskImage:
    return TaskImage("reference", Media(png(image), "image/png"), kind=kind, weight=weight)


def given(image: Image.Image, role: str) -> TaskImage:
    return TaskImage(role, Media(png(image), "image/png"))


@dataclass(frozen=True)
class Case:
    """`style`, `subject`: scale and pictures of each kind."""

    style: tuple[float, tuple[Image.Image, ...]] = (0.0, ())
    subject: tuple[float, tuple[Image.Image, ...]] = (0.0, ())
    inputs: tuple[TaskImage, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    has_lora: bool = False

    @property
    def images(self) -> tuple[TaskImage, ...]:
        kinds = (("style", *self.style), ("subject", *self.subject))
        return (*self.inputs, *(refer(image, kind, scale) for kind, scale, images in kinds for image in images))


CASES = {
    "plain": Case(),
    "style": Case(style=(0.6, (RED,))),
    "subject": Case(subject=(1.0, (BLUE,))),
    "both": Case(style=(1.5, (BLUE,)), subject=(0.35, (RED,))),
    "several": Case(subject=(0.7, (RED, BLUE))),
    "unguided": Case(subject=(0.8, (RED,)), options=(("guidance_scale", 1.0),)),
    "from an image": Case(subject=(0.5, (RED,)), inputs=(given(BLUE, "init"),)),
    "inpainting": Case(style=(0.9, (RED,)), inputs=(given(BLUE, "init"), given(LEFT_HALF, "mask"))),
    "wide": Case(subject=(0.9, (RED,)), options=(("width", 56), ("height", 24))),
    "lora": Case(style=(0.6, (RED,)), has_lora=True),
}
TOGETHER = ("plain", "style", "subject", "both", "several")
"""Those whose passes have the same shape."""


class Peer:
    """One model in the engine, and as a stock pipeline with both adapters."""

    def __init__(self, folder: Path, dtype: str, **controls: Any) -> None:
        self.adapters = folder.parent / f"{folder.name}-adapters"
        plus = ControlSource(repo=str(self.adapters), file="plus/plus.safetensors")
        sources = {"style": str(self.adapters), "subject": plus}
        self.model = make_model(
            folder.name,
            tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE),
            repo=str(folder),
            dtype=dtype,
            controls=sources | controls,
        )
        self.lora = folder.parent / f"{folder.name}.safetensors"
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self.passes = 0
        pipeline = self.engine._pipelines[""]
        self.plain, self.stock = copy.deepcopy(pipeline), copy.deepcopy(pipeline)
        self.stock.load_ip_adapter(
            str(self.adapters), subfolder=["", "plus"], weight_name=["style.safetensors", "plus.safetensors"],
            image_encoder_folder="image_encoder", local_files_only=True,
        )  # fmt: skip
        pipeline.unet.register_forward_pre_hook(self._count_pass)
        self.samplers = Samplers(self.stock.scheduler)

    def _count_pass(self, *_: Any) -> None:
        self.passes += 1

    def task(self, name: str, case: Case) -> Any:
        roles = {image.role for image in case.inputs}
        options: dict[str, Any] = {
            "steps": 3, "guidance_scale": 3.0, "width": 40, "height": 32, "negative_prompt": "a cat", "sampler": "",
            "count": 1, "seed": 3,
        } | ({"strength": 0.6} if roles else {}) | dict(case.options)  # fmt: skip
        if "mask" in roles:
            options["inpaint_area"] = "whole"
        prompt = "a red fox <lora:ink:0.5>" if case.has_lora else "a red fox"
        return make_task(
            prompt,
            id=name,
            task=IMAGE_TO_IMAGE if roles else TEXT_TO_IMAGE,
            model=self.model,
            options=options,
            images=case.images,
            addons=(TaskAddon("ink", "lora", str(self.lora)),) if case.has_lora else (),
        )

    def expected(self, case: Case) -> numpy.ndarray:
        """The stock pipeline's image."""
        is_plain = not case.style[1] and not case.subject[1]
        base = self.plain if is_plain else self.stock
        roles = {image.role for image in case.inputs}
        pipeline = pipeline_variant(base, "mask" if "mask" in roles else "init") if roles else base
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = self.samplers.create_scheduler("")
        task = replace(self.task("stock", case), images=case.inputs)
        if case.has_lora:
            base.load_lora_weights(self.lora.parent, weight_name=self.lora.name, adapter_name="ink")
            base.set_adapters(["ink"], [0.5])
            task = replace(task, options={**task.options, "prompt": "a red fox"})
        added = {} if is_plain else self._reference_arguments(case)
        image = generate(pipeline, task, 3, lambda *_: None, added_arguments=added)[0]
        if case.has_lora:
            base.unload_lora_weights()
        return image

    def _reference_arguments(self, case: Case) -> dict[str, Any]:
        style: Any = case.style[0]
        if hasattr(self.stock, "text_encoder_2"):
            style = {"up": {"block_0": [0.0, case.style[0]]}}
        self.stock.set_ip_adapter_scale([style, case.subject[0]])
        return {"ip_adapter_image": [list(images or (RED,)) for _, images in (case.style, case.subject)]}

    def generated(self, *names: str) -> dict[str, numpy.ndarray]:
        """The engine's images by case, in flight at the same time."""
        return self.run(*(self.task(name, CASES[name]) for name in names))

    def run(self, *tasks: Any) -> dict[str, numpy.ndarray]:
        for task in tasks:
            self.engine.add_task(task)
        events: list[EngineEvent] = []
        while sum(isinstance(event, TaskDone) for event in events) < len(tasks):
            events += self.engine.step()
            for event in events:
                if isinstance(event, TaskFailed):
                    raise event.error
        return {event.task_id: pixels_of(event.image) for event in events if isinstance(event, ImageReady)}


def pixels_of(image: Any) -> numpy.ndarray:
    return numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, 3)


def difference(one: numpy.ndarray, other: numpy.ndarray) -> int:
    return int(numpy.abs(one.astype(int) - other.astype(int)).max())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """By family and dtype, loaded when first asked for."""
    folders: dict[str, Path] = {}
    loaded: dict[tuple[str, str], Peer] = {}

    def save(family: str) -> Path:
        folder = FAMILIES[family](tmp_path_factory.mktemp("adapters") / family)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
        adapters = folder.parent / f"{family}-adapters"
        save_ip_adapter(adapters / "style.safetensors", pipeline.unet, 1)
        save_ip_adapter(adapters / "plus" / "plus.safetensors", pipeline.unet, 2, is_plus=True)
        save_image_encoder(adapters / "image_encoder")
        save_lora(pipeline, folder.parent / f"{family}.safetensors")
        return folder

    def peer_for(family: str, dtype: str = "float32") -> Peer:
        if family not in folders:
            folders[family] = save(family)
        if (family, dtype) not in loaded:
            loaded[family, dtype] = Peer(folders[family], dtype)
        return loaded[family, dtype]

    yield peer_for
    for peer in loaded.values():
        peer.engine.unload_model()


@pytest.fixture
def eager(monkeypatch):
    """All images that wait share a pass."""
    monkeypatch.setattr("inference.engine.cost_model.PassCostModel.best_size", lambda _self, limit, _unit=1: limit)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_with_any_references_share_passes_and_equal_the_stock_pipelines(peers, eager, family):
    peer = peers(family)

    images = peer.generated(*CASES)

    for name, case in CASES.items():
        assert difference(images[name], peer.expected(case)) <= 1, name
    assert all(difference(images["plain"], images[name]) > 8 for name in TOGETHER[1:])
    assert len({images[name].tobytes() for name in TOGETHER}) == len(TOGETHER)


@pytest.mark.parametrize(("family", "dtype", "levels"), [("sd", "bfloat16", 6), ("sdxl", "float16", 1)])
def test_half_precision_gives_the_stock_pipelines_images(peers, eager, family, dtype, levels):
    """A shared pass rounds differently from one alone, in bfloat16 by a few levels."""
    peer = peers(family, dtype)
    expected = {name: peer.expected(CASES[name]) for name in TOGETHER}
    together = peer.generated(*TOGETHER)
    alone = {name: peer.generated(name)[name] for name in TOGETHER}

    assert max(difference(together[name], expected[name]) for name in TOGETHER) <= levels
    assert max(difference(alone[name], expected[name]) for name in TOGETHER) <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_one_shape_make_one_pass_a_step(peers, eager, family):
    peer = peers(family)
    peer.passes = 0

    peer.generated(*TOGETHER)

    assert peer.passes == 3
