"""References through IP-Adapters: each image is what the stock pipeline alone makes, in passes with any others."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bot.errors import InvalidOption, ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ControlSource
from bot.ports import TaskAddon, TaskImage
from inference.checkpoints.reference_files import find_adapter, find_image_encoder
from inference.diffusion.control.ip_adapter import ReferenceEncoder
from inference.diffusion.control.references import AdapterReferences, weight_bias
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.pipeline_call import generate
from inference.diffusion.pipeline_variants import pipeline_variant
from inference.diffusion.samplers import Samplers
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.families import save_sdxl
from tests.inference.ip_adapters import save_image_encoder, save_ip_adapter
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion, save_editor

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
    "wide": Case(subject=(0.9, (RED,)), options=(("width", 40), ("height", 24))),
    "lora": Case(style=(0.6, (RED,)), has_lora=True),
}
TOGETHER = ("plain", "style", "subject", "both", "several")
"""Those whose passes have the same shape."""


class Peer:
    """One model in the engine, and as a stock pipeline with both adapters, if there is one to compare with."""

    def __init__(
        self,
        folder: Path,
        dtype: str,
        *,
        has_stock: bool = True,
        backend: Any = "torch",
        settings: Any = None,
        **controls: Any,
    ) -> None:
        self.adapters = folder.parent / f"{folder.name}-adapters"
        plus = ControlSource(repo=str(self.adapters), file="plus/plus.safetensors")
        sources = {"style": str(self.adapters), "subject": plus}
        self.model = make_model(
            folder.name,
            tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE),
            repo=str(folder),
            dtype=dtype,
            backend=backend,
            controls=sources | controls,
            **(settings or {}),
        )
        self.lora = folder.parent / f"{folder.name}.safetensors"
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self.passes = 0
        pipeline = self.engine._pipelines[""]
        if has_stock:
            self.plain, self.stock = copy.deepcopy(pipeline), copy.deepcopy(pipeline)
            self.stock.load_ip_adapter(
                str(self.adapters), subfolder=["", "plus"], weight_name=["style.safetensors", "plus.safetensors"],
                image_encoder_folder="image_encoder", local_files_only=True,
            )  # fmt: skip
        pipeline.unet.register_forward_pre_hook(self._count_pass)
        self.samplers = Samplers(pipeline.scheduler)

    @property
    def extension(self) -> AdapterReferences:
        return next(one for one in self.engine._runner.extensions if isinstance(one, AdapterReferences))

    def _count_pass(self, *_: Any) -> None:
        self.passes += 1

    def task(self, name: str, case: Case) -> Any:
        roles = {image.role for image in case.inputs}
        options: dict[str, Any] = {
            "steps": 2, "guidance_scale": 3.0, "width": 24, "height": 16, "negative_prompt": "a cat", "sampler": "",
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

    def run(self, *tasks: Any, running: Sequence[str] = ()) -> dict[str, numpy.ndarray]:
        """Also of tasks that are already running."""
        for task in tasks:
            self.engine.add_task(task)
        events: list[EngineEvent] = []
        while sum(isinstance(event, TaskDone) for event in events) < len(tasks) + len(running):
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


def save_with_adapters(parent: Path, family: str) -> Path:
    """A model in a folder, with two adapters and a LoRA beside it."""
    folder = FAMILIES[family](parent / family)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    adapters = parent / f"{family}-adapters"
    save_ip_adapter(adapters / "style.safetensors", pipeline.unet, 1)
    save_ip_adapter(adapters / "plus" / "plus.safetensors", pipeline.unet, 2, "plus")
    save_image_encoder(adapters / "image_encoder")
    save_lora(pipeline, parent / f"{family}.safetensors")
    return folder


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """By family and dtype, loaded when first asked for."""
    folders: dict[str, Path] = {}
    loaded: dict[tuple[str, str], Peer] = {}

    def peer_for(family: str, dtype: str = "float32") -> Peer:
        if family not in folders:
            folders[family] = save_with_adapters(tmp_path_factory.mktemp("adapters"), family)
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


@pytest.mark.parametrize(
    ("family", "names", "passes"), [("sd", tuple(CASES), 6), ("sdxl", ("plain", "style", "both"), 2)]
)
def test_images_with_any_references_share_passes_and_equal_the_stock_pipelines(peers, eager, family, names, passes):
    """Another size and a LoRA need passes of their own."""
    peer = peers(family)
    peer.passes = 0

    images = peer.generated(*names)

    assert peer.passes == passes
    for name in names:
        assert difference(images[name], peer.expected(CASES[name])) <= 1, name
    together = [name for name in TOGETHER if name in names]
    assert all(difference(images["plain"], images[name]) > 8 for name in together[1:])
    assert len({images[name].tobytes() for name in together}) == len(together)


@pytest.mark.parametrize(("family", "dtype", "levels"), [("sd", "bfloat16", 6), ("sdxl", "float16", 1)])
def test_half_precision_gives_the_stock_pipelines_images(peers, eager, family, dtype, levels):
    """A shared pass rounds differently from one alone, in bfloat16 by a few levels."""
    peer, names = peers(family, dtype), ("both", "several")
    expected = {name: peer.expected(CASES[name]) for name in names}
    together = peer.generated(*names)

    assert max(difference(together[name], expected[name]) for name in names) <= levels
    assert difference(peer.generated("both")["both"], expected["both"]) <= 1


def test_an_adapter_is_loaded_when_first_wanted_and_changes_no_other_image(peers, eager):
    """Images in flight before, while and after it is loaded are those of the plain pipeline, bit for bit."""
    peer = Peer(Path(peers("sd").model.repo), "float32", has_stock=False)
    before = peer.generated("plain")["plain"]
    loader: Any = peer.extension
    is_lazy = loader._loader is None

    peer.engine.add_task(peer.task("early", CASES["plain"]))
    peer.engine.step()
    images = peer.run(peer.task("style", CASES["style"]), running=["early"])
    after = peer.generated("plain")["plain"]

    assert is_lazy
    assert loader._loader is not None
    assert (images["early"] == before).all()
    assert (after == before).all()
    peer.engine.unload_model()


def test_a_picture_is_encoded_once(peers, monkeypatch):
    encoded: list[Any] = []
    peer = peers("sd")
    encode = ReferenceEncoder.encode

    def encode_counted(*args):
        encoded.append(args)
        return encode(*args)

    monkeypatch.setattr(ReferenceEncoder, "encode", encode_counted)
    new = Case(style=(0.5, (picture(7),)), subject=(0.5, (picture(7),)))

    peer.run(peer.task("first", new), peer.task("second", new))

    assert len(encoded) == 2  # by each adapter


def test_a_control_and_a_reference_work_together(peers, eager, tmp_path):
    peer = peers("sd")
    torch.manual_seed(4)
    control = diffusers.ControlNetModel.from_unet(peer.plain.unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    control.save_pretrained(tmp_path / "canny")
    controlled = Peer(Path(peer.model.repo), "float32", has_stock=False, canny=str(tmp_path / "canny"))
    outlines = picture(5).resize((24, 16))
    guided = replace(given(outlines, "control"), kind="canny", is_ready=True)
    task = controlled.task("both", CASES["style"])
    stock = diffusers.StableDiffusionControlNetPipeline(
        **peer.stock.components, controlnet=control, requires_safety_checker=False
    )
    stock.scheduler = peer.samplers.create_scheduler("")
    stock.set_progress_bar_config(disable=True)

    images = controlled.run(
        replace(task, images=(*task.images, guided)),
        controlled.task("style", CASES["style"]),
        controlled.task("plain", CASES["plain"]),
    )
    arguments = peer._reference_arguments(CASES["style"]) | {"image": outlines}
    expected = generate(stock, replace(task, images=()), 3, lambda *_: None, added_arguments=arguments)[0]

    assert controlled.passes == 2
    assert difference(images["both"], expected) <= 1
    assert difference(images["style"], peer.expected(CASES["style"])) <= 1
    assert difference(images["both"], images["style"]) > 8
    controlled.engine.unload_model()


def test_an_edit_by_instruction_refers_through_its_models_adapter(tmp_path):
    """Its guidance makes three rows, of which one has the prompt. The adapter takes the features of all patches."""
    folder = save_editor(tmp_path / "editor")
    stock = diffusers.DiffusionPipeline.from_pretrained(folder)
    save_ip_adapter(tmp_path / "adapter" / "style.safetensors", stock.unet, variant="full")
    save_image_encoder(tmp_path / "adapter" / "image_encoder")
    model = make_model(
        "editor", tasks=(IMAGE_TEXT_TO_IMAGE,), repo=str(folder), controls={"style": str(tmp_path / "adapter")}
    )
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    options = {"steps": 2, "guidance_scale": 3.0, "width": 24, "height": 16, "negative_prompt": "", "sampler": ""}
    task = make_task("blue", task=IMAGE_TEXT_TO_IMAGE, model=model, options=options, images=(given(BLUE, "init"),))
    stock.load_ip_adapter(
        str(tmp_path / "adapter"), subfolder="", weight_name="style.safetensors", local_files_only=True
    )
    stock.set_ip_adapter_scale(0.7)
    stock.set_progress_bar_config(disable=True)
    stock.scheduler = Samplers(stock.scheduler).create_scheduler("")
    expected = generate(stock, task, 7, lambda *_: None, added_arguments={"ip_adapter_image": [RED]})[0]

    made: dict[str, Any] = {}
    for name, images in {"refers": (*task.images, refer(RED, "style", 0.7)), "plain": task.images}.items():
        engine.add_task(replace(task, id=name, images=images))
    while len(made) < 2:
        made |= {event.task_id: pixels_of(event.image) for event in engine.step() if isinstance(event, ImageReady)}

    assert difference(made["refers"], expected) <= 1
    assert difference(made["refers"], made["plain"]) > 8
    engine.unload_model()


# ---------------------------------------------------------------- weights


def test_a_reference_of_no_weight_changes_nothing(peers):
    peer = peers("sd")
    images = (refer(RED, "subject", 0.7), refer(BLUE, "subject", 0.0), refer(BLUE, "style", 0.0))

    task = replace(peer.task("weighed", CASES["subject"]), images=images)
    alone = peer.task("alone", Case(subject=(0.7, (RED,))))

    made = peer.run(task, alone)
    assert difference(made["weighed"], made["alone"]) == 0


def test_weights_of_several_pictures_are_relative_to_the_strongest():
    """As if the tokens of a picture were there twice when it weighs twice as much as another."""
    tokens = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    bias = weight_bias([0.4, 0.8], [1, 2], tokens)
    weights = torch.softmax(torch.zeros(3) + bias, 0)
    doubled = torch.softmax(torch.zeros(5), 0)

    assert weight_bias([0.5, 0.5], [2, 2], tokens) is None
    torch.testing.assert_close(weights, torch.stack([doubled[0], doubled[1] * 2, doubled[2] * 2]))


# ---------------------------------------------------------------- files


def fails_with(peer: Peer, adapters: Path, **source: Any) -> str:
    """What the log says of a model with this adapter."""
    model = replace(peer.model, controls={"style": ControlSource(repo=str(adapters), **source)})
    extension = AdapterReferences(model, peer.plain)
    with pytest.raises(ModelUnavailable) as refused:
        extension._load("style")
    return refused.value.detail


def test_an_adapter_that_cannot_be_used_is_refused_with_the_reason(peers, tmp_path):
    peer = peers("sd")
    state = load_file(peer.adapters / "style.safetensors")
    save_image_encoder(tmp_path / "image_encoder", projected=6)
    save_file({name: value for name, value in state.items() if "proj.proj" not in name}, tmp_path / "face.safetensors")
    save_file({"a.weight": torch.ones(1)}, tmp_path / "other.safetensors")
    save_ip_adapter(tmp_path / "sdxl.safetensors", peers("sdxl").plain.unet)
    save_file(state, tmp_path / "lone.safetensors")
    (tmp_path / "old.bin").write_bytes(b"pickle")

    assert "takes face embeddings" in fails_with(peer, tmp_path, file="face.safetensors")
    assert "is not an IP-Adapter" in fails_with(peer, tmp_path, file="other.safetensors")
    assert "does not fit it: its layer 1 is" in fails_with(peer, tmp_path, file="sdxl.safetensors")
    assert "needs an image encoder with projection_dim 12" in fails_with(peer, tmp_path, file="lone.safetensors")
    assert "is not a .safetensors file" in fails_with(peer, tmp_path, file="old.bin")
    assert "exactly one .safetensors file" in fails_with(peer, tmp_path)
    assert "is not in the cache" in fails_with(peer, Path("org/absent"))


def test_the_image_encoder_with_the_features_that_an_adapter_takes_is_found(peers, tmp_path):
    """As in a repo whose folders have different encoders."""
    peer = peers("sd")
    save_ip_adapter(tmp_path / "large" / "adapter.safetensors", peer.plain.unet)
    save_image_encoder(tmp_path / "large" / "image_encoder", projected=6)
    save_image_encoder(tmp_path / "small" / "image_encoder")
    source = ControlSource(repo=str(tmp_path), file="large/adapter.safetensors")

    found = find_image_encoder(peer.model, find_adapter(peer.model, source), "projection_dim", 12)

    assert found == tmp_path / "small" / "image_encoder"


def test_a_model_without_such_an_adapter_refuses_the_task(peers):
    peer = peers("sd")
    bare = AdapterReferences(make_model("bare"), peer.plain)

    with pytest.raises(InvalidOption) as refused:
        bare.check_task(peer.task("style", CASES["style"]))

    assert (refused.value.problem, refused.value.option) == ("reference_lacks", "style")
    assert AdapterReferences(peer.model, peer.plain).capabilities() == {"references": ["style", "subject"]}
    assert bare.capabilities() == {}
