"""ControlNets and T2I-Adapters on tiny models with random weights: each image equals the stock pipeline's alone."""

import copy
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter, UNet2DConditionModel, ZImageControlNetModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ControlSource
from bot.ports import TaskImage
from inference.diffusion import engine as engine_module
from inference.diffusion import step_loop
from inference.diffusion.control import control_store
from inference.diffusion.control.controls import AS_REFERENCE, ControlNets
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.samplers import Samplers
from inference.engine.base import ImageReady, TaskDone, TaskFailed
from inference.engine.cost_model import PassCostModel
from tests.inference import single
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion
from training.control import build_controlnet

SIDE, STEPS = 32, 2
MAP_CHANNELS = (8, 8, 8, 8)
pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")]


def picture(number: int) -> Image.Image:
    pixels = numpy.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(numpy.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)


MASK = Image.new("L", (SIDE, SIDE), 0)
MASK.paste(255, (0, 0, SIDE, SIDE // 2))
MAPS = {kind: picture(number) for number, kind in enumerate(("canny", "lineart", "scribble", "depth", "pose"), 1)}
INPUTS = {"init": picture(9), "mask": MASK}


def shake(module: torch.nn.Module, seed: int) -> Any:
    """Random weights where a new ControlNet has zeros, so that it has an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def make_adapter(unet: Any) -> T2IAdapter:
    torch.manual_seed(5)
    return T2IAdapter(
        channels=list(unet.config.block_out_channels),
        num_res_blocks=1,
        downscale_factor=16,
        adapter_type="full_adapter_xl",
    )


def save_model(folder: Path, family: str) -> Path:
    """A model, two ControlNets, an adapter, and for SDXL a union of two kinds, in folders."""
    SAVERS[family](folder / "model")
    unet = UNet2DConditionModel.from_pretrained(folder / "model", subfolder="unet")
    parts = {
        "canny": shake(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=MAP_CHANNELS), 1),
        "lineart": shake(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=MAP_CHANNELS), 2),
        "scribble": make_adapter(unet),
    }
    if unet.config.addition_embed_type:
        torch.manual_seed(3)
        config = {name: value for name, value in unet.config.items() if name in UNION_SETTINGS}
        union = ControlNetUnionModel(
            **config, conditioning_embedding_out_channels=MAP_CHANNELS, num_trans_channel=16, num_trans_head=2,
            num_proj_channel=16, num_control_type=6,
        )  # fmt: skip
        parts["depth"] = shake(union, 3)
    for kind, part in parts.items():
        part.save_pretrained(folder / kind)
    return folder


UNION_SETTINGS = frozenset(
    (
        *("in_channels", "down_block_types", "block_out_channels", "layers_per_block", "norm_num_groups"),
        *("cross_attention_dim", "attention_head_dim", "addition_embed_type", "addition_time_embed_dim"),
        *("projection_class_embeddings_input_dim", "transformer_layers_per_block"),
    )
)
SAVERS = {"sd": save_diffusion, "sdxl": save_sdxl}


class Peer:
    """An engine and the stock pipelines with the same weights."""

    def __init__(self, folder: Path, family: str, dtype: str, **model: Any) -> None:
        stock = diffusers.DiffusionPipeline.from_pretrained(folder / "model", dtype=getattr(torch, dtype))
        self.paths = {kind: str(folder / kind) for kind in ("canny", "lineart", "scribble")}
        if family == "sdxl":
            self.paths |= dict.fromkeys(("depth", "pose"), str(folder / "depth"))
        self.is_xl = family == "sdxl"
        tasks, repo = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE), str(folder / "model")
        self.model = make_model(family, tasks=tasks, repo=repo, dtype=dtype, controls=self.paths, **model)
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self.stock, self.samplers = stock, Samplers(stock.scheduler)
        self._parts: dict[str, Any] = {}

    def part(self, kind: str) -> Any:
        if kind not in self._parts:
            union = ControlNetUnionModel if kind in ("depth", "pose") else ControlNetModel
            part_class = T2IAdapter if kind == "scribble" else union
            self._parts[kind] = part_class.from_pretrained(self.paths[kind], dtype=self.stock.unet.dtype)
        return self._parts[kind]

    def task(self, name: str, *controls: tuple, roles: tuple[str, ...] = (), **options: Any) -> Any:
        """`controls`: kind, and the further fields of its image."""
        images = [TaskImage(role, Media(png(INPUTS[role]), "image/png")) for role in roles]
        for kind, *values in controls:
            fields = dict(zip(("weight", "start", "end"), values, strict=False))
            images.append(TaskImage("control", Media(png(MAPS[kind]), "image/png"), kind, is_ready=True, **fields))
        options = {
            "steps": STEPS, "guidance_scale": 3.0, "width": SIDE, "height": SIDE, "negative_prompt": "a cat",
            "sampler": "", "count": 1, "seed": len(name),
        } | ({"strength": 0.8} if roles else {}) | options  # fmt: skip
        kind = IMAGE_TO_IMAGE if roles else TEXT_TO_IMAGE
        return make_task("a red fox", id=name, task=kind, model=self.model, options=options, images=tuple(images))

    def expected(self, task: Any) -> numpy.ndarray:
        """The stock pipeline's image."""
        roles = {image.role for image in task.images}
        controls = [image for image in task.images if image.role == "control" and image.weight]
        nets = [image for image in controls if image.kind != "scribble"]
        adapters = [image for image in controls if image.kind == "scribble"]
        is_union = bool(nets) and nets[0].kind in ("depth", "pose")
        form = "Inpaint" if "mask" in roles else "Img2Img" if "init" in roles else ""
        family = "StableDiffusionXL" if self.is_xl else "StableDiffusion"
        name = f"{family}{'ControlNet' if nets else ''}{'Union' if is_union else ''}{form}Pipeline"
        components = dict(self.stock.components)
        arguments: dict[str, Any] = {}
        if nets:
            modules = [self.part(image.kind) for image in nets]
            components["controlnet"] = modules[0] if len(modules) == 1 or is_union else modules
            maps = [Image.open(io.BytesIO(image.media.data)) for image in nets]
            only = len(nets) == 1
            key = "control_image" if roles - {"control"} or is_union else "image"
            arguments = {
                key: maps[0] if only else maps,
                "controlnet_conditioning_scale": nets[0].weight if only or is_union else [one.weight for one in nets],
                "control_guidance_start": nets[0].start if only or is_union else [one.start for one in nets],
                "control_guidance_end": nets[0].end if only or is_union else [one.end for one in nets],
            }
            if is_union:
                arguments["control_mode"] = [{"pose": 0, "depth": 1}[image.kind] for image in nets]
        unet = components["unet"] = copy.copy(components["unet"])
        if adapters:
            self.add_features(unet, adapters[0], task.options["steps"])
        if roles - {"control"}:
            arguments |= {"image": INPUTS["init"], "strength": task.options["strength"]}
        if form == "Inpaint":
            arguments["mask_image"] = INPUTS["mask"]
        image = self.run_stock(getattr(diffusers, name), components, task, arguments)
        if form == "Inpaint":
            image[SIDE // 2 :] = numpy.asarray(INPUTS["init"])[SIDE // 2 :]  # Easel keeps these pixels
        return image

    def add_features(self, unet: Any, image: TaskImage, steps: int) -> None:
        """Diffusers has adapters for text-to-image only, and without ControlNets; this is what they do."""
        pixels = numpy.asarray(MAPS[image.kind]).astype(numpy.float32) / 255
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(unet.dtype)
        with torch.no_grad():
            features = [feature * image.weight for feature in self.part(image.kind)(tensor)]
        forward, calls = type(unet).forward, []

        def with_features(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if (len(calls) - 1) / steps >= image.start and len(calls) / steps <= image.end:
                each = [torch.cat([feature] * len(sample)) for feature in features]
                kwargs["down_intrablock_additional_residuals"] = each
            return forward(unet, sample, *args, **kwargs)

        unet.forward = with_features

    def run_stock(self, kind: Any, components: dict[str, Any], task: Any, arguments: dict[str, Any]) -> numpy.ndarray:
        if not self.is_xl:
            components |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        components["scheduler"] = self.samplers.create_scheduler("")
        accepted = set(kind.__init__.__annotations__) | {"safety_checker", "requires_safety_checker"}
        pipeline = kind(**{name: value for name, value in components.items() if name in accepted or name == "vae"})
        pipeline.set_progress_bar_config(disable=True)
        options = task.options
        size = (
            {} if "Img2Img" in kind.__name__ and "ControlNet" not in kind.__name__ else {"width": SIDE, "height": SIDE}
        )
        image = pipeline(
            prompt=options["prompt"], negative_prompt=options["negative_prompt"], output_type="np",
            num_inference_steps=options["steps"], guidance_scale=options["guidance_scale"], **size,
            generator=torch.Generator("cpu").manual_seed(options["seed"]), **arguments,
        ).images[0]  # fmt: skip
        return (image * 255).round().astype(numpy.uint8)


def generated(engine: DiffusionEngine, *tasks: Any) -> dict[str, numpy.ndarray]:
    """The engine's images by task, in flight at the same time."""
    for task in tasks:
        engine.add_task(task)
    events: list[Any] = []
    while sum(isinstance(event, TaskDone) for event in events) < len(tasks):
        events += engine.step()
        for event in events:
            if isinstance(event, TaskFailed):
                raise event.error
    return {
        event.task_id: numpy.frombuffer(event.image.pixels, numpy.uint8).reshape(SIDE, -1, 3)
        for event in events
        if isinstance(event, ImageReady)
    }


def levels(one: numpy.ndarray, other: numpy.ndarray) -> int:
    return int(numpy.abs(one.astype(int) - other.astype(int)).max())


def count_calls(engine: DiffusionEngine) -> dict[str, int]:
    """Passes of each module that shares them, from now on."""
    counts = dict.fromkeys(engine._step_loop.modules, 0)
    for name, module in engine._step_loop.modules.items():

        def count(*_: Any, name: str = name) -> None:
            counts[name] += 1

        module.module.register_forward_pre_hook(count)
    return counts


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def full_passes(monkeypatch):
    """A pass has all rows that can share it, not only as many as the cost model has found worthwhile so far."""
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """By family and dtype, loaded when first asked for."""
    loaded: dict[tuple[str, str], Peer] = {}
    folders: dict[str, Path] = {}

    def peer_for(family: str, dtype: str = "float32") -> Peer:
        if family not in folders:
            folders[family] = save_model(tmp_path_factory.mktemp(family), family)
        if (family, dtype) not in loaded:
            loaded[family, dtype] = Peer(folders[family], family, dtype)
        return loaded[family, dtype]

    yield peer_for
    for peer in loaded.values():
        peer.engine.unload_model()


def mixed_stream(peer: Peer) -> list[Any]:
    shared = [
        peer.task("two", ("canny", 0.7), ("lineart", 1.5)),
        peer.task("adapter and control", ("scribble", 0.8, 0.0, 0.75), ("canny",)),
        peer.task("inpainting", ("canny", 0.9), roles=("init", "mask")),
    ]
    if peer.is_xl:
        plain = peer.task("plain", guidance_scale=3.0)
        return [*shared, plain, peer.task("union", ("depth", 0.9)), peer.task("union of both", ("depth",), ("pose",))]
    return [
        *shared,
        peer.task("plain"),
        peer.task("started late", ("lineart", 1.0, 0.5, 1.0)),
        peer.task("ended early", ("canny", 1.0, 0.0, 0.5)),
        peer.task("adapter", ("scribble", 0.8)),
        peer.task("from an image", ("canny",), roles=("init",)),
        peer.task("weightless", ("canny", 0.0)),
    ]


@pytest.mark.parametrize("family", SAVERS)
def test_each_image_of_a_mixed_stream_is_the_stock_pipelines_and_all_share_passes(peers, family):
    peer = peers(family)
    tasks = mixed_stream(peer)
    generated(peer.engine, *(peer.task(kind, (kind,), steps=1) for kind in peer.paths))  # loads the controls
    counts = count_calls(peer.engine)
    images = generated(peer.engine, *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= 1, task.id
    assert min(levels(images["plain"], image) for name, image in images.items() if name in ("two", "adapter")) > 20
    unions = {name for name in counts if name.endswith("depth")}  # one call with one kind, one with two
    assert {counts[name] for name in counts if name not in unions} == {STEPS}
    assert all(counts[name] == 2 * STEPS for name in unions)


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 8), ("float16", 2)])
def test_controls_in_half_precision(peers, dtype, most):
    peer = peers("sd", dtype)
    tasks = [
        peer.task("two", ("canny", 0.7), ("lineart", 1.5)),
        peer.task("adapter and control", ("scribble", 0.8), ("canny",)),
    ]
    images = generated(peer.engine, *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= most, task.id


SHARES = (0.0, 0.25, 0.3, 0.5, 0.75, 1.0)


@st.composite
def controls(draw):
    kinds = draw(st.lists(st.sampled_from(["canny", "lineart", "scribble"]), max_size=3, unique=True))
    spans = [sorted(draw(st.lists(st.sampled_from(SHARES), min_size=2, max_size=2, unique=True))) for _ in kinds]
    return [(kind, draw(st.sampled_from([0.0, 0.5, 1.3])), *span) for kind, span in zip(kinds, spans, strict=True)]


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(controls(), min_size=2, max_size=3))
def test_any_mixture_gives_the_stock_pipelines_images(peers, each):
    peer = peers("sd")
    tasks = [peer.task(f"task {number}", *of_task, seed=number, steps=4) for number, of_task in enumerate(each)]
    images = generated(peer.engine, *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= 1


def test_a_control_is_not_called_outside_of_its_start_and_end(peers):
    peer = peers("sd")
    generated(peer.engine, peer.task("load", ("canny",), ("lineart",), steps=1))
    counts = count_calls(peer.engine)
    generated(peer.engine, peer.task("span", ("canny", 1.0, 0.25, 0.75), ("lineart", 0.0), steps=4))

    assert [counts[name] for name in sorted(counts)] == [2, 0, 4]


def test_the_time_of_controls_is_charged_to_their_tasks_only(peers, monkeypatch):
    """And it does not change what a pass of the denoiser costs."""
    peer = peers("sd")
    generated(peer.engine, peer.task("load", ("canny",), steps=1))
    clock = [0.0]
    monkeypatch.setattr(step_loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(engine_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    handles = [
        module.module.register_forward_pre_hook(lambda *_, seconds=seconds: clock.append(clock.pop() + seconds))
        for module, seconds in zip(peer.engine._step_loop.modules.values(), (1.0, 100.0, 0.0), strict=False)
    ]
    peer.engine.take_usage()
    generated(peer.engine, peer.task("with", ("canny",), width=24), peer.task("without", width=24))
    for handle in handles:
        handle.remove()
    usage = peer.engine.take_usage()

    assert usage["with"] - usage["without"] == pytest.approx(STEPS * 100, abs=10)
    assert peer.engine._step_loop.cost_model(f"24x{SIDE}").predict_seconds(1) <= 1


# ---------------------------------------------------------------- which controls fit


def test_the_engine_says_which_kinds_it_can_serve(peers):
    assert peers("sdxl").engine.capabilities["controls"] == ["canny", "lineart", "scribble", "depth", "pose"]


def test_controls_of_another_family_are_refused_with_a_sentence(peers, tmp_path):
    """A ControlNet of SDXL, a file that is none, and an adapter with other channels for a Stable Diffusion 1 model."""
    sd, xl = peers("sd"), peers("sdxl")
    other = tmp_path / "adapter"
    T2IAdapter(
        channels=[32, 64], num_res_blocks=1, downscale_factor=16, adapter_type="full_adapter_xl"
    ).save_pretrained(other)
    wrong = {"canny": xl.paths["canny"], "lineart": str(Path(sd.model.repo) / "vae"), "scribble": str(other)}
    engine = engine_with(sd, wrong)
    for kind in wrong:
        with pytest.raises(InvalidOption) as refused:
            engine.add_task(sd.task("refused", (kind,)))
        assert explain(refused.value).endswith(".")

    assert engine.capabilities["controls"] == []
    assert set(generated(engine, sd.task("next"))) == {"next"}


def engine_with(peer: Peer, controls: dict[str, Any], **overrides: Any) -> DiffusionEngine:
    engine = DiffusionEngine(make_model("own", repo=peer.model.repo, controls=controls, **overrides))
    engine.load_model("cpu")
    return engine


def test_a_kind_without_weights_is_refused(peers):
    with pytest.raises(InvalidOption) as refused:
        peers("sd").engine.add_task(peers("sd").task("none", ("depth",)))

    assert (refused.value.option, refused.value.problem) == ("depth", "control_lacks")


def test_the_least_recently_used_controls_are_freed(peers, monkeypatch):
    monkeypatch.setattr(control_store, "MAX_LOADED", 2)
    peer = peers("sd")
    engine = engine_with(peer, peer.paths)
    for kind in ("canny", "lineart", "scribble", "lineart"):
        generated(engine, peer.task(kind, (kind,), steps=1))

    controls: Any = next(one for one in engine._runner.extensions if isinstance(one, ControlNets))
    loaded = [Path(name).name for name in controls._store._loaded]
    assert loaded == ["scribble", "lineart"]
    assert [Path(name).name for name in engine._step_loop.modules] == ["unet", "lineart"]


def test_weights_in_one_file_get_their_settings_from_the_model(peers, tmp_path):
    peer, kinds = peers("sdxl"), ("canny", "depth")
    for kind in kinds:
        (tmp_path / kind).mkdir()
        save_file(peer.part(kind).state_dict(), tmp_path / kind / "control.safetensors")
    # The sizes of the parts that only unions have are real ones unless a config says otherwise.
    (tmp_path / "depth" / "config.json").write_text((Path(peer.paths["depth"]) / "config.json").read_text())
    engine = engine_with(
        peer, {kind: ControlSource(repo=str(tmp_path / kind), file="control.safetensors") for kind in kinds}
    )
    tasks = [peer.task(kind, (kind,)) for kind in kinds]
    images = generated(engine, *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= 1, task.id


# ---------------------------------------------------------------- other families


@pytest.fixture(scope="module")
def z_image(tmp_path_factory):
    """An engine, and the stock ControlNet pipeline with the same weights."""
    folder = tmp_path_factory.mktemp("z-image")
    save_z_image(folder / "model")
    torch.manual_seed(1)
    net = ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=6, dim=32, n_refiner_layers=1,
        n_heads=2, n_kv_heads=2, add_control_noise_refiner="control_layers",
    )  # fmt: skip
    shake(net, 2).save_pretrained(folder / "control")
    model = make_model("z", repo=str(folder / "model"), controls={"canny": str(folder / "control")})
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    stock = diffusers.DiffusionPipeline.from_pretrained(folder / "model")
    controlled = diffusers.ZImageControlNetPipeline(
        **stock.components, controlnet=ZImageControlNetModel.from_pretrained(folder / "control")
    )
    yield engine, {False: stock, True: controlled}
    engine.unload_model()


def test_z_images_controls_are_added_to_rows_of_other_lengths_in_shared_passes(z_image):
    engine, stock = z_image
    control = TaskImage("control", Media(png(MAPS["canny"]), "image/png"), "canny", is_ready=True)
    prompts = {"plain": ("a fox " * 18, ()), "one": ("a cat " * 18, (control,)), "long": ("a fox " * 36, (control,))}
    options = {"steps": 2, "width": SIDE, "height": SIDE, "guidance_scale": 0.0, "sampler": "", "seed": 3}
    tasks = [
        make_task(prompt, id=name, model=engine._model, options=options, images=images)
        for name, (prompt, images) in prompts.items()
    ]
    generated(engine, tasks[1])  # loads the control
    counts = count_calls(engine)
    images = generated(engine, *tasks)

    for name, (prompt, inputs) in prompts.items():
        pipeline = stock[bool(inputs)]
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = Samplers(pipeline.scheduler).create_scheduler("")
        more = {"control_image": MAPS["canny"], "controlnet_conditioning_scale": 1.0} if inputs else {}
        generator = torch.Generator("cpu").manual_seed(3)
        image = pipeline(
            prompt, width=SIDE, height=SIDE, num_inference_steps=2, guidance_scale=0.0, generator=generator,
            output_type="np", **more,
        ).images[0]  # fmt: skip
        assert levels(images[name], (image * 255).round().astype(numpy.uint8)) <= 1, name
    assert levels(images["plain"], images["one"]) > 5
    assert set(counts.values()) == {2}


def test_where_the_family_has_no_controlnet_the_control_becomes_a_reference(tmp_path):
    model = make_model(
        "klein", repo=str(save_klein(tmp_path / "klein")), tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=2
    )
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    options = {"steps": 1, "width": 64, "height": 64, "guidance_scale": 1.0, "sampler": ""}
    results = {}
    for role in ("control", "reference"):
        kind: dict[str, Any] = {"kind": "canny", "is_ready": True} if role == "control" else {}
        image = TaskImage(role, Media(png(MAPS["canny"].resize((64, 64))), "image/png"), **kind)
        engine.add_task(make_task("a fox", id=role, model=model, options=options, images=(image,)))
        events: list[Any] = []
        while not any(isinstance(event, TaskDone) for event in events):
            events += engine.step()
        results[role] = next(event.image.pixels for event in events if isinstance(event, ImageReady))
        notes = next(event.result.notes for event in events if isinstance(event, TaskDone))
        assert (AS_REFERENCE in notes) == (role == "control")

    assert results["control"] == results["reference"]


def test_a_control_for_the_starter_model_reduces_maps_sixteen_times(tmp_path):
    """The control that ships for it is trained; here it is untrained."""
    repo = "models/starter-image"
    stock = diffusers.DiffusionPipeline.from_pretrained(repo, dtype=torch.float32)
    net = shake(build_controlnet(stock.unet), 4)
    net.save_pretrained(tmp_path / "control")
    model = make_model("starter", repo=repo, controls={"canny": str(tmp_path / "control")})
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    options = {"steps": 1, "width": 64, "height": 64, "guidance_scale": 3.0, "sampler": ""}
    image = TaskImage("control", Media(png(MAPS["canny"]), "image/png"), "canny", is_ready=True)
    tasks = [
        make_task("a red cube", id=name, model=model, options=options, images=images)
        for name, images in {"plain": (), "controlled": (image,)}.items()
    ]
    images = generated(engine, *tasks)
    pipeline = diffusers.StableDiffusionControlNetPipeline(
        **stock.components, controlnet=net, requires_safety_checker=False
    )
    expected = pipeline(
        "a red cube", MAPS["canny"].resize((64, 64), Image.Resampling.LANCZOS), width=64, height=64,
        num_inference_steps=1, guidance_scale=3.0, output_type="np", generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip

    assert engine.capabilities["controls"] == ["canny"]
    assert levels(images["controlled"].reshape(64, 64, 3), (expected * 255).round().astype(numpy.uint8)) <= 1
    assert levels(images["controlled"], images["plain"]) > 5


def test_hires_fix_enlarges_the_map_for_its_second_pass(peers):
    peer = peers("sd")
    tasks = [peer.task("hires", *controls, hires=2.0) for controls in ((), (("canny",),))]
    plain, controlled = (generated(peer.engine, task)["hires"] for task in tasks)

    assert controlled.size == plain.size == 4 * SIDE * SIDE * 3
    assert levels(plain, controlled) > 20


def original_name(name: str, layers: int) -> str:
    """The name of a ControlNet's weight in the original programs."""
    for prefix, original in {
        "controlnet_down_blocks.": "zero_convs.",
        "controlnet_mid_block.": "middle_block_out.",
    }.items():
        if name.startswith(prefix):
            *numbers, kind = name.removeprefix(prefix).split(".")
            return original + ".".join([*numbers, "0", kind])
    if name.startswith("controlnet_cond_embedding."):
        part = name.removeprefix("controlnet_cond_embedding.").replace("blocks.", "")
        first, kind = part.rsplit(".", 1)
        number = {"conv_in": 0, "conv_out": 7}.get(first)
        return f"input_hint_block.{2 * (int(first) + 1 if number is None else number)}.{kind}"
    return single._unet_name(name, layers)


def test_a_file_in_the_layout_of_the_original_programs(peers, tmp_path, monkeypatch):
    peer = peers("sd")
    net = shake(ControlNetModel.from_unet(peer.stock.unet), 6)
    layers, paths = int(net.config.layers_per_block), {}
    for kind, prefix in {"canny": "", "lineart": "control_model."}.items():
        weights = {prefix + original_name(name, layers): value for name, value in net.state_dict().items()}
        paths[kind] = str(tmp_path / f"{kind}.safetensors")
        save_file({name: value.contiguous() for name, value in weights.items()}, paths[kind])
        monkeypatch.setitem(peer._parts, kind, net)
    tasks = [peer.task(kind, (kind,), steps=1) for kind in paths]
    images = generated(engine_with(peer, paths), *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= 1, task.id
