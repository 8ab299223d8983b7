"""Every command of every family gives the stock pipeline's pixels in each number format, also if the VAE overflows.

torch computes all of these pipelines in float16 on the CPU.
"""

import copy
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from accelerate.hooks import add_hook_to_module
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, AutoencoderKLQwenImage21
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.coroutines import ModuleCall, ModuleProxy
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.pipeline_call import generate
from inference.diffusion.pipeline_variants import pipeline_variant
from inference.diffusion.previews import preview_decoder
from inference.diffusion.samplers import Samplers
from inference.diffusion.shared_component import SharedComponent
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed
from inference.memory.offload import OffloadHook
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import make_autoencoder, save_diffusion, save_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]
PICTURE = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), numpy.uint8))
LEFT_HALF = Image.new("L", (64, 64), 0)
LEFT_HALF.paste(255, (0, 0, 32, 64))
INPUTS = {"init": PICTURE, "mask": LEFT_HALF, "reference": PICTURE}
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "imagine": (TEXT_TO_IMAGE, ()),
    "imagine from an image": (IMAGE_TO_IMAGE, ("init",)),
    "inpaint": (IMAGE_TO_IMAGE, ("init", "mask")),
    "edit": (IMAGE_TEXT_TO_IMAGE, ("init",)),
    "edit with a reference": (IMAGE_TEXT_TO_IMAGE, ("init", "reference")),
    "blend": (IMAGE_TEXT_TO_IMAGE, ("reference", "reference")),
}
PAINTS = ("imagine", "imagine from an image", "inpaint")


def save_overflowing_sdxl(folder: Path) -> Path:
    """SDXL's original VAE: its activations exceed float16, and `force_upcast` says so."""
    return _with_vae(save_sdxl(folder), overflowing_autoencoder(scaling_factor=0.13025))


def save_fixed_sdxl(folder: Path) -> Path:
    """The layout of sdxl-vae-fp16-fix."""
    return _with_vae(save_sdxl(folder), make_autoencoder(scaling_factor=0.13025, force_upcast=False))


def overflowing_autoencoder(**config: Any) -> AutoencoderKL:
    vae = make_autoencoder(**config).eval()
    with torch.no_grad():
        vae.encoder.conv_in.weight *= 1e5
        vae.decoder.conv_in.weight *= 1e5
    return vae


def _with_vae(folder: Path, vae: AutoencoderKL) -> Path:
    vae.save_pretrained(folder / "vae")
    return folder


FAMILIES = {
    "sd": (save_diffusion, PAINTS),
    "sdxl": (save_overflowing_sdxl, PAINTS),
    "sdxl-fp16-fix": (save_fixed_sdxl, PAINTS),
    "z-image": (save_z_image, PAINTS),
    "instruct-pix2pix": (save_editor, ("edit",)),
    "klein": (save_klein, ("imagine", "edit with a reference", "blend")),
}
RUNS = [
    (family, dtype, command)
    for family, (_, commands) in FAMILIES.items()
    for dtype in ("float32", "bfloat16", "float16")
    for command in commands
]


class Peer:
    """One model in the engine and as stock pipelines."""

    def __init__(self, folder: Path, family: str, dtype: str) -> None:
        tasks = {COMMANDS[command][0] for command in FAMILIES[family][1]}
        self.side = 64 if family == "klein" else 32  # FLUX.2 edits nothing smaller
        self.model = make_model(family, tasks=tuple(sorted(tasks)), repo=str(folder), dtype=dtype, max_images=2)
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self.stock = copy.copy(self.engine._pipelines[""])
        self.stock.vae = copy.deepcopy(self.stock.vae)  # the only part that a stock pipeline changes
        self.samplers = Samplers(self.stock.scheduler)

    def task(self, command: str, **options: Any) -> Any:
        kind, roles = COMMANDS[command]
        options = {
            "steps": 2, "guidance_scale": 3.0, "width": self.side, "height": self.side, "negative_prompt": "a cat",
            "sampler": "", "count": 1, "seed": 3,
        } | ({"strength": 0.6} if kind == IMAGE_TO_IMAGE else {}) | options  # fmt: skip
        images = tuple(TaskImage(role, Media(png(INPUTS[role]), "image/png")) for role in roles)
        return make_task("a red fox", id=command, task=kind, model=self.model, options=options, images=images)

    def expected(self, command: str) -> numpy.ndarray:
        """The stock pipeline's image."""
        kind, roles = COMMANDS[command]
        variant = "mask" if "mask" in roles else "init" if kind == IMAGE_TO_IMAGE else ""
        pipeline = pipeline_variant(self.stock, variant) if variant else self.stock
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = self.samplers.create_scheduler("")
        return generate(pipeline, self.task(command), 3, lambda *_: None)[0]

    def generated(self, *tasks: Any) -> dict[str, numpy.ndarray]:
        """The engine's images by task, in flight at the same time."""
        for task in tasks:
            self.engine.add_task(task)
        events: list[EngineEvent] = []
        while sum(isinstance(event, TaskDone) for event in events) < len(tasks):
            events += self.engine.step()
            for event in events:
                if isinstance(event, TaskFailed):
                    raise event.error
        return {
            event.task_id: numpy.frombuffer(event.image.pixels, numpy.uint8).reshape(self.side, self.side, 3)
            for event in events
            if isinstance(event, ImageReady)
        }


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """By family and dtype, loaded when first asked for."""
    folders: dict[str, Path] = {}
    loaded: dict[tuple[str, str], Peer] = {}

    def peer_for(family: str, dtype: str) -> Peer:
        if family not in folders:
            folders[family] = FAMILIES[family][0](tmp_path_factory.mktemp("half") / family)
        if (family, dtype) not in loaded:
            loaded[family, dtype] = Peer(folders[family], family, dtype)
        return loaded[family, dtype]

    yield peer_for
    for peer in loaded.values():
        peer.engine.unload_model()


@pytest.mark.parametrize(("family", "dtype", "command"), RUNS)
def test_each_command_gives_the_stock_pipelines_pixels(peers, family, dtype, command):
    peer = peers(family, dtype)
    image = peer.generated(peer.task(command))[command]

    assert (image == peer.expected(command)).all()
    assert image.std() > 10  # neither black nor grey


def test_images_in_flight_at_the_same_time_share_one_vae(peers):
    """In bfloat16, Diffusers encodes in float32 and decodes in bfloat16."""
    peer = peers("sdxl", "bfloat16")
    peer.engine._step_loop.max_rows = 1  # half precision rounds a shared pass differently
    images = peer.generated(*(peer.task(command) for command in PAINTS))

    for command in PAINTS:
        assert (images[command] == peer.expected(command)).all()


# ---------------------------------------------------------------- the VAE


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return overflowing_autoencoder(halvings=1, scaling_factor=1.0).half()


def decode(latents, dtype=None):
    return ModuleCall("vae", "decode", (latents,), {"return_dict": False}, dtype)


LATENTS = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()


@torch.no_grad()
@pytest.mark.parametrize("is_tiled", [False, True])
@pytest.mark.parametrize("is_offloaded", [False, True])
def test_a_call_computes_in_its_own_dtype(vae, is_tiled, is_offloaded):
    if is_tiled:
        vae.enable_tiling()
    in_half = vae.decode(LATENTS, return_dict=False)[0]
    in_full = copy.deepcopy(vae).float().decode(LATENTS.float(), return_dict=False)[0]
    if is_offloaded:
        add_hook_to_module(vae, OffloadHook(torch.device("cpu")))
    shared = SharedComponent(vae)

    assert not in_half.isfinite().all()
    for _ in range(2):
        assert shared.execute(decode(LATENTS, torch.float32))[0].equal(in_full)
        assert torch.allclose(shared.execute(decode(LATENTS))[0], in_half, equal_nan=True)


@torch.no_grad()
def test_a_preview_does_not_overflow(vae):
    """Latents may have another dtype than the VAE."""
    decode_preview = preview_decoder(SimpleNamespace(vae=vae))

    assert decode_preview is not None
    for latents in (LATENTS, LATENTS.float()):
        assert decode_preview(latents).isfinite().all()


class FakeModule:
    """Records its dtype during each call; `gates`: what a call waits for, by its argument."""

    def __init__(self, **gates):
        self.dtype, self.device, self.gates = torch.float16, torch.device("cpu"), gates
        self.calls: list[tuple[str, torch.dtype]] = []
        self.casts_that_fail = 0
        self.cast_to: torch.dtype | None = None

    def to(self, dtype):
        self.dtype = dtype
        if self.casts_that_fail:
            self.casts_that_fail -= 1
            raise torch.OutOfMemoryError
        self.cast_to = dtype

    def decode(self, name):
        self.calls.append((name, self.dtype))
        if name in self.gates:
            assert self.gates[name].wait(5)


def test_calls_in_one_dtype_overlap_and_those_in_another_wait():
    gate = threading.Event()
    module = FakeModule(first=gate)
    shared = SharedComponent(module)

    def start(name, dtype=None):
        thread = threading.Thread(target=shared.execute, args=(ModuleCall("vae", "decode", (name,), {}, dtype),))
        thread.start()
        return thread

    first = start("first")
    while not module.calls:
        first.join(0.001)
    start("same").join(5)
    other = start("other", torch.float32)
    other.join(0.02)
    assert module.calls == [("first", torch.float16), ("same", torch.float16)]
    gate.set()
    first.join(5)
    other.join(5)

    assert module.calls[2] == ("other", torch.float32)


class FakeVideoModule(FakeModule):
    """Keeps what a call has computed in itself, as Qwen-Image's autoencoder does."""

    def clear_cache(self):
        pass


def test_calls_of_a_module_that_keeps_their_state_are_made_in_turn():
    gate = threading.Event()
    module = FakeVideoModule(first=gate)
    shared = SharedComponent(module)
    calls = [ModuleCall("vae", "decode", (name,), {}) for name in ("first", "second")]
    threads = [threading.Thread(target=shared.execute, args=(call,)) for call in calls]

    threads[0].start()
    while not module.calls:
        threads[0].join(0.001)
    threads[1].start()
    threads[1].join(0.02)
    assert module.calls == [("first", torch.float16)]
    gate.set()
    for thread in threads:
        thread.join(5)

    assert [name for name, _ in module.calls] == ["first", "second"]


def test_the_autoencoders_of_qwen_image_are_such_modules():
    assert hasattr(AutoencoderKLQwenImage, "clear_cache")
    assert hasattr(AutoencoderKLQwenImage21, "clear_cache")
    assert not hasattr(AutoencoderKL, "clear_cache")


@pytest.mark.parametrize("following", [torch.float32, torch.float16])
def test_after_a_cast_that_ran_out_of_memory_all_weights_are_cast(following):
    """Some of them were cast, so none can be relied on: not even for a call in the old format."""
    module = FakeModule()
    module.casts_that_fail = 1
    shared = SharedComponent(module)
    call = ModuleCall("vae", "decode", ("one",), {}, torch.float32)

    with pytest.raises(torch.OutOfMemoryError):
        shared.execute(call)
    shared.execute(replace(call, dtype=following))

    assert module.cast_to == following
    assert module.calls == [("one", following)]


def test_a_run_casts_its_proxy_and_not_the_shared_module(vae):
    proxy = ModuleProxy("vae", vae, ("decode",), torch.float16)
    for cast, dtype in (
        (lambda: proxy.to(dtype=torch.float32), torch.float32),
        (lambda: proxy.to("meta", torch.bfloat16), torch.bfloat16),
        (lambda: proxy.float(), torch.float32),
        (lambda: proxy.half(), torch.float16),
        (lambda: proxy.to("meta"), torch.float16),
    ):
        assert cast() is proxy
        assert proxy.dtype == dtype
        assert {parameter.dtype for parameter in proxy.parameters()} == {dtype}
        assert next(proxy.post_quant_conv.parameters()).dtype == dtype
    assert {(parameter.dtype, parameter.device.type) for parameter in vae.parameters()} == {(torch.float16, "cpu")}


def test_a_proxy_shows_the_modules_content(vae):
    proxy = ModuleProxy("vae", vae, ())

    assert list(dict(proxy.named_parameters())) == list(dict(vae.named_parameters()))
    assert list(proxy.modules()) == list(vae.modules())
    assert list(proxy.children()) == list(vae.children())
    assert proxy.state_dict().keys() == vae.state_dict().keys()
    assert proxy.float().dtype == vae.dtype  # its dtype is not recorded
