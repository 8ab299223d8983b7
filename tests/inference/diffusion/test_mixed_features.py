"""Features that meet in one engine: controls, LoRAs, tiling, edits, little memory. Each keeps what it does alone."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskAddon, TaskImage
from inference.diffusion import step_loop
from inference.diffusion.control import control_store
from inference.diffusion.control.control_run import count_steps, fit_map
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.inpainting import masked_area
from inference.diffusion.lora import LoraManager
from inference.diffusion.shared_component import SharedComponent
from inference.diffusion.tiling import set_tiling
from inference.engine.base import TaskDone, TaskFailed
from inference.engine.cost_model import PassCostModel
from tests.inference.diffusion.test_control import MAPS, generated, levels, shake
from tests.inference.diffusion.test_control import save_model as save_with_controls
from tests.inference.families import save_z_image
from tests.inference.support import make_model, make_task, png

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")]
OPTIONS = {"steps": 2, "guidance_scale": 3.0, "width": 32, "height": 32, "negative_prompt": "", "sampler": ""}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def full_passes(monkeypatch):
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    """An engine for Stable Diffusion with two ControlNets."""
    folder = save_with_controls(tmp_path_factory.mktemp("sd"), "sd")
    controls = {kind: str(folder / kind) for kind in ("canny", "lineart")}
    engine = DiffusionEngine(
        make_model("sd", repo=str(folder / "model"), tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), controls=controls)
    )
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def control(kind: str, **fields: Any) -> TaskImage:
    return TaskImage("control", Media(png(MAPS[kind]), "image/png"), kind, is_ready=True, **fields)


def task_for(engine: DiffusionEngine, name: str, *images: TaskImage, prompt: str = "a red fox", **fields: Any) -> Any:
    options = OPTIONS | fields.pop("options", {})
    return make_task(prompt, id=name, model=engine._model, options=options, images=images, **fields)


def test_an_image_with_two_controls_has_both_where_there_is_room_for_one(sd, monkeypatch):
    task = task_for(sd, "both", control("canny"), control("lineart"))
    expected = generated(sd, task)["both"]
    monkeypatch.setattr(control_store, "MAX_LOADED", 1)

    assert levels(generated(sd, task)["both"], expected) <= 1


def test_controls_are_called_for_no_more_images_than_the_next_pass_takes(sd, monkeypatch):
    """What they add to an image stays in memory until the denoiser takes it."""
    generated(sd, task_for(sd, "first", control("canny")))
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, unit=1: min(limit, 2 * unit))
    modules = sd._step_loop.modules
    rows: dict[str, list[int]] = {name: [] for name in modules}
    hooks = [
        module.module.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: rows[name].append(len(kwargs.get("sample", args[0] if args else ()))),
            with_kwargs=True,
        )
        for name, module in modules.items()
    ]
    for number in range(5):
        sd.add_task(task_for(sd, f"{number}", control("canny")))
    sd.step()
    first = {name: sum(counts) for name, counts in rows.items()}
    events = [event for _ in range(40) for event in sd.step()]
    for hook in hooks:
        hook.remove()

    assert [rows for name, rows in first.items() if name != "unet" and rows] == [4] == [first["unet"]]
    assert sum(isinstance(event, TaskDone) for event in events) == 5


def test_a_lora_that_is_loaded_while_the_unet_is_seamless_is_seamless_too(sd, tmp_path):
    """Its convolutions are added to the UNet then."""
    pipeline = copy.deepcopy(sd._pipelines[""])
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, module in pipeline.unet.named_modules():
        if name.endswith(".conv1"):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_channels, 3, 3, generator=generator)
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_channels, 2, 1, 1, generator=generator)
    save_file(tensors, tmp_path / "lora.safetensors")
    set_tiling(pipeline.unet, True)
    LoraManager(pipeline).apply(((str(tmp_path / "lora.safetensors"), 1.0),))

    added = [part for name, part in pipeline.unet.named_modules() if ".lora_A." in name]
    assert {part.padding_mode for part in added} == {"circular"}


class TiledDecoder(torch.nn.Module):
    """An autoencoder that decodes in two tiles, which overlap by as much as they depend on each other."""

    use_tiling, tile_latent_min_size, dtype, device = True, 4, torch.float32, torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.enlarge, self.conv = torch.nn.Upsample(scale_factor=2), torch.nn.Conv2d(1, 1, 3, padding=1)

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        half = latents.shape[-1] // 2
        left, right = (self.conv(self.enlarge(part)) for part in (latents[..., : half + 1], latents[..., half - 1 :]))
        return (torch.cat([left[..., :-2], right[..., 2:]], dim=-1),)


def test_a_seamless_image_is_seamless_where_its_decoder_works_in_tiles():
    """Tiles save memory; each of them would otherwise wrap around by itself."""
    decoder = TiledDecoder()
    latents = torch.randn(1, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    call = ModuleCall("vae", "decode", (latents,), {"return_dict": False}, is_tiled=True)
    with torch.no_grad():
        pixels = SharedComponent(decoder).execute(call)[0]
        around = torch.nn.functional.pad(decoder.enlarge(latents), (1, 1, 1, 1), mode="circular")
        whole = torch.nn.functional.conv2d(around, decoder.conv.weight, decoder.conv.bias)

    assert pixels.shape == (1, 1, 24, 20)
    assert torch.allclose(pixels, whole, atol=1e-6)


@pytest.fixture(scope="module")
def z_image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("z-image")
    save_z_image(folder / "model")
    torch.manual_seed(1)
    net = diffusers.ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=6, dim=32, n_refiner_layers=1,
        n_heads=2, n_kv_heads=2, add_control_noise_refiner="control_layers",
    )  # fmt: skip
    shake(net, 2).save_pretrained(folder / "control")
    engine = DiffusionEngine(make_model("z", repo=str(folder / "model"), controls={"canny": str(folder / "control")}))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def save_transformer_lora(transformer: torch.nn.Module, path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, module in transformer.named_modules():
        if name.endswith((".to_k", ".to_v", ".w1")):
            tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=generator)
            tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=generator)
    save_file(tensors, path)
    return path


def test_z_images_control_computes_with_the_loras_of_its_own_image(z_image, full_passes, tmp_path):
    """It shares layers with the transformer, whose LoRAs change between passes."""
    path = save_transformer_lora(z_image._pipelines[""].transformer, tmp_path / "ink.safetensors")
    with_lora: dict[str, Any] = {"prompt": "a fox <lora:ink:1>", "addons": (TaskAddon("ink", "lora", str(path)),)}
    options = {"guidance_scale": 0.0}
    plain = task_for(z_image, "plain", control("canny"), prompt="a fox", options=options)
    styled = task_for(z_image, "styled", control("canny"), options=options, **with_lora)
    together = generated(z_image, plain, styled)
    alone = {task.id: generated(z_image, task)[task.id] for task in (styled, plain)}

    pipeline = diffusers.ZImageControlNetPipeline(
        **diffusers.DiffusionPipeline.from_pretrained(z_image._model.repo).components,
        controlnet=diffusers.ZImageControlNetModel.from_pretrained(z_image._model.controls["canny"]),
    )
    lora_loader = diffusers.ZImagePipeline(**{k: v for k, v in pipeline.components.items() if k != "controlnet"})
    lora_loader.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="ink")
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        "a fox", width=32, height=32, num_inference_steps=2, guidance_scale=0.0, output_type="np",
        control_image=MAPS["canny"], controlnet_conditioning_scale=1.0, generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip

    assert levels(together["styled"], (stock * 255).round().astype(numpy.uint8)) <= 1
    assert all(levels(together[name], alone[name]) <= 1 for name in together)
    assert levels(together["styled"], together["plain"]) > 5


def test_an_editing_models_map_is_cut_as_its_picture_is():
    """It has no input for a mask: it sees the whole picture, although only a part is repainted."""
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (4, 4, 16, 12))
    picture = MAPS["canny"].resize((64, 48))
    images = [TaskImage(role, Media(png(image), "image/png")) for role, image in (("init", picture), ("mask", mask))]
    images.append(TaskImage("control", Media(png(picture), "image/png"), "canny", is_ready=True))
    options = {"inpaint_area": "masked", "width": 64, "height": 64}
    task = make_task(images=tuple(images), options=options, task=IMAGE_TEXT_TO_IMAGE)
    for name, is_cropped in (
        ("StableDiffusionInstructPix2PixPipeline", False),
        ("StableDiffusionInpaintPipeline", True),
    ):
        kind = getattr(diffusers, name)
        run: Any = SimpleNamespace(task=task, pipeline=kind.__new__(kind))
        area = masked_area(task, (64, 64), is_cropped=is_cropped)
        assert area is not None
        assert fit_map(run, images[-1], (64, 64)).tobytes() == area.image.tobytes()


def test_steps_are_counted_where_the_pipeline_does_not_count_them():
    scheduler = SimpleNamespace(timesteps=torch.arange(5))
    run: Any = SimpleNamespace(proxied=SimpleNamespace(scheduler=scheduler))
    assert count_steps(run) == 5
    run.proxied.num_timesteps = 3
    assert count_steps(run) == 3


# ---------------------------------------------------------------- one image's time and failure


def test_decodes_between_two_steps_are_charged(sd, monkeypatch):
    """With model offload there is no thread for them."""
    clock = [0.0]
    monkeypatch.setattr(step_loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(sd, "_decode_thread", None)
    decoder = sd._pipelines[""].vae.decoder
    hook = decoder.register_forward_pre_hook(lambda *_: clock.append(clock.pop() + 5.0))
    sd.take_usage()
    generated(sd, task_for(sd, "hires", options={"hires": 1.5}))
    hook.remove()

    assert sd.take_usage()["hires"] == pytest.approx(10.0, abs=0.1)


def test_an_image_that_ends_in_the_pass_in_which_another_of_its_task_fails(sd, full_passes, monkeypatch):
    """Such pipelines have no autoencoder: an image is finished by its last pass."""

    def generate(sequence):
        image = original(sequence)
        if sequence.index:
            raise ValueError("the second image fails")
        return image

    original = sd._runner.generate
    monkeypatch.setattr(sd._runner, "generate", generate)
    monkeypatch.setattr(sd._runner, "_vae", None)
    sd.add_task(task_for(sd, "two", options={"count": 2}))
    sd.add_task(task_for(sd, "other"))
    events = [event for _ in range(6) for event in sd.step()]

    assert [event.task_id for event in events if isinstance(event, TaskFailed)] == ["two"]
    assert [event.task_id for event in events if isinstance(event, TaskDone)] == ["other"]


def test_what_goes_on_while_memory_is_freed_keeps_no_gradients(sd):
    """The second pass of hires fix encodes its picture there."""
    has_gradients = []
    encoder = sd._pipelines[""].vae.encoder
    hook = encoder.register_forward_pre_hook(lambda *_: has_gradients.append(torch.is_grad_enabled()))
    sd.add_task(task_for(sd, "hires", options={"hires": 1.5}))
    while not sd._decode_thread.pending:
        sd.step()
    sd.reduce_memory()
    hook.remove()
    sd.cancel_task("hires")

    assert has_gradients == [False]
