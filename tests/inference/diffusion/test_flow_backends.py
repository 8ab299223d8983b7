"""FLUX.2 and Z-Image on compiled transformers: on every installed backend, each image equals the stock pipeline's to
within one level. What a graph cannot compute runs on torch."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ZImageControlNetModel,
    ZImageImg2ImgPipeline,
    ZImagePipeline,
)

from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskAddon
from inference.backends.export import export_module
from inference.backends.graph import graph_backend
from inference.backends.graph_inputs import UnsupportedModule, graph_inputs_for
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import compiled_denoiser
from inference.diffusion.execution.build_trial import with_rows
from inference.engine.cost_model import PassCostModel
from inference.memory import planner
from tests.backends_required import require_backend
from tests.inference.backends.graphs import BACKENDS
from tests.inference.diffusion.test_batching import run_stream
from tests.inference.diffusion.test_batching_flow import (
    KLEIN,
    load_pipeline,
    make_img2img,
    make_request,
    with_short_prompts,
)
from tests.inference.diffusion.test_control import generated, levels, shake
from tests.inference.diffusion.test_mixed_features import control, save_transformer_lora
from tests.inference.families import save_klein, save_z_image
from tests.inference.stream import generate_alone
from tests.inference.support import make_model

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    require_backend(request.param)
    return request.param


class Family:
    """A stock pipeline, and the build of its transformer."""

    def __init__(self, pipeline: Any, build: Any, backend: str) -> None:
        self.pipeline, self.build, self.backend = pipeline, build, backend
        export_module(pipeline.transformer, graph_backend(backend), build)

    def engine(self, monkeypatch: Any, *tasks: str, **settings: Any) -> DiffusionEngine:
        monkeypatch.setattr(compiled_denoiser, "find_build", lambda *_: self.build)
        monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)
        own = {"repo": str(self.pipeline.name_or_path), "backend": self.backend} | settings
        model = make_model("tiny", tasks=tasks, **own)
        engine = DiffusionEngine(model)
        engine.load_model("cpu")
        return engine


@pytest.fixture(scope="module")
def klein(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("klein")
    return Family(load_pipeline(Flux2KleinPipeline, save_klein, folder / "model"), folder / "build", backend)


@pytest.fixture(scope="module")
def z_image(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("z-image")
    pipeline = load_pipeline(ZImagePipeline, save_z_image, folder / "model")
    for token in (pipeline.transformer.x_pad_token, pipeline.transformer.cap_pad_token):
        token.data.normal_()  # zeros in a new model
    pipeline.transformer.save_pretrained(folder / "model" / "transformer")
    return Family(pipeline, folder / "build", backend)


def check_images(engine, tasks, joins, generate) -> None:
    """Each task joins after `joins` passes, and its image equals the stock pipeline's. All passes are the graph's."""
    runs, transformer = {"graph": 0, "torch": 0}, engine._step_loop.modules["transformer"]
    for name, module in (("graph", transformer.compiled), ("torch", transformer.module)):
        module.register_forward_pre_hook(lambda *_, name=name: runs.update({name: runs[name] + 1}))

    images = run_stream(engine, tasks, joins, [None for _ in tasks])

    for task in tasks:
        assert abs(images[task.id].astype(int) - generate(task).astype(int)).max() <= 1, task.id
    assert sum(task.options["steps"] for task in tasks) > runs["graph"] > 0 == runs["torch"]
    engine.unload_model()


def test_klein_with_and_without_references(klein, monkeypatch):
    engine = klein.engine(monkeypatch, TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)
    stock = with_short_prompts(Flux2KleinPipeline(**klein.pipeline.components, is_distilled=True))
    stock.set_progress_bar_config(disable=True)
    with_short_prompts(engine._pipelines[""])
    tasks = [KLEIN[name] for name in ("short", "long", "composed", "composed too", "wide")]

    check_images(engine, tasks, (0, 1, 0, 1, 2), lambda task: generate_alone(stock, task).pixels)


def test_z_image_in_mixed_sizes(z_image, monkeypatch):
    engine = z_image.engine(monkeypatch, TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    image_to_image = ZImageImg2ImgPipeline(**z_image.pipeline.components)
    image_to_image.set_progress_bar_config(disable=True)
    tasks = [
        make_request("square", guidance_scale=0.0, seed=2, width=96, height=96),
        make_request("larger", guidance_scale=0.0, seed=3, width=160, height=160),
        make_request("guided", guidance_scale=4.0, negative_prompt="blue", seed=4, width=128, height=96),
        make_img2img("redrawn", "red", guidance_scale=0.0, seed=7, width=96, height=96),
    ]

    def generate(task):
        return generate_alone(image_to_image if task.task == IMAGE_TO_IMAGE else z_image.pipeline, task).pixels

    check_images(engine, tasks, (0, 1, 0, 2), generate)


def test_released_weights_are_loaded_for_a_control_and_a_lora(z_image, monkeypatch, tmp_path):
    """Z-Image's ControlNet computes with layers of the transformer."""
    monkeypatch.setattr(planner, "keeps_both_denoisers", lambda *_: False)
    net = ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=6, dim=32, n_refiner_layers=1,
        n_heads=2, n_kv_heads=2, add_control_noise_refiner="control_layers",
    )  # fmt: skip
    shake(net, 2).save_pretrained(tmp_path / "control")
    path = save_transformer_lora(z_image.pipeline.transformer, tmp_path / "ink.safetensors")
    plain = make_request("plain", guidance_scale=0.0, width=64, height=64)
    tasks = {
        "plain": plain,
        "control": replace(plain, id="control", images=(control("canny"),)),
        "lora": replace(
            plain,
            id="lora",
            options=plain.options | {"prompt": "a fox <lora:ink:1>"},
            addons=(TaskAddon("ink", "lora", str(path)),),
        ),
    }
    images: dict[str, list[Any]] = {}
    for first in ("control", "lora"):
        for backend in (z_image.backend, "torch"):
            engine = z_image.engine(
                monkeypatch, TEXT_TO_IMAGE, backend=backend, controls={"canny": str(tmp_path / "control")}
            )
            for name in dict.fromkeys(("plain", first, *tasks)):
                images.setdefault(name, []).append(generated(engine, tasks[name])[tasks[name].id])
            engine.unload_model()

    for name, found in images.items():
        assert max(levels(one, found[0]) for one in found) <= 1, name
    assert min(levels(images[name][0], images["plain"][0]) for name in ("control", "lora")) > 5


# ---------------------------------------------------------------- one call of the graph


def flux_call(rows: int, height: int, width: int, tokens: int, *, has_guidance: bool) -> dict[str, Any]:
    zero, patches = torch.zeros(1), [torch.arange(float(side)) for side in (height, width)]
    return {
        "hidden_states": torch.randn(rows, height * width, 16),
        "encoder_hidden_states": torch.randn(rows, tokens, 48),
        "timestep": torch.linspace(1, 0.01, rows),
        "img_ids": torch.cartesian_prod(zero, *patches, zero).expand(rows, -1, -1),
        "txt_ids": torch.cartesian_prod(zero, zero, zero, torch.arange(float(tokens))),
        "guidance": torch.linspace(1, 4, rows) if has_guidance else None,
    }


def z_image_call(*sizes: tuple[int, int, int]) -> dict[str, Any]:
    return {
        "x": [torch.randn(4, 1, height, width) for height, width, _ in sizes],
        "t": torch.linspace(0.01, 1, len(sizes)),
        "cap_feats": [torch.randn(tokens, 16) for _, _, tokens in sizes],
    }


def open_graph(family: Family) -> tuple[Any, Any, Any]:
    module = family.pipeline.transformer
    return (
        module,
        graph_inputs_for(module),
        graph_backend(family.backend).open(family.build, threads=1, precision="float32"),
    )


def largest_difference(module, rule, graph, arguments) -> float:
    expected = module(**arguments, return_dict=False)[0]
    outputs = graph.run(rule.to_inputs(arguments))
    computed = rule.to_output(outputs, arguments | {"return_dict": False})[0]
    assert torch.equal(
        torch.tensor(rule.to_output(outputs, arguments).sample[0].shape), torch.tensor(expected[0].shape)
    )
    return max(float((one - other).abs().max()) for one, other in zip(computed, expected, strict=True))


def test_any_rows_sizes_and_prompts_of_flux(klein):
    peer = open_graph(klein)
    for rows, height, width, tokens in ((1, 4, 4, 8), (3, 3, 5, 9), (2, 8, 8, 32)):
        assert largest_difference(*peer, flux_call(rows, height, width, tokens, has_guidance=False)) < 5e-6


def test_guidance_is_an_input_of_distilled_flux():
    torch.manual_seed(0)
    module = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=True,
    ).eval()  # fmt: skip
    rule = graph_inputs_for(module)
    arguments = flux_call(3, 4, 4, 9, has_guidance=True)

    inputs = rule.to_inputs(arguments)
    assert inputs is not None
    computed = rule.wrapper(module)(*inputs)

    torch.testing.assert_close(computed, module(**arguments).sample, atol=5e-6, rtol=0)
    assert not rule.takes(flux_call(3, 4, 4, 9, has_guidance=False))


Z_IMAGE_ROWS = {
    "one": [(8, 8, 5)],
    "unlike": [(8, 8, 5), (16, 12, 40), (4, 4, 1)],
    "without padding": [(16, 16, 32), (16, 16, 32)],
}


def test_any_rows_sizes_and_prompts_of_z_image(z_image):
    peer = open_graph(z_image)
    for name, sizes in Z_IMAGE_ROWS.items():
        assert largest_difference(*peer, z_image_call(*sizes)) < 5e-6, name


def test_one_timestep_for_all_rows_of_z_image(z_image):
    peer = open_graph(z_image)
    arguments = z_image_call((8, 8, 5), (8, 8, 7)) | {"t": torch.tensor([0.3])}

    assert largest_difference(*peer, arguments) < 5e-6


def test_the_trial_of_a_build_measures_any_number_of_rows():
    z_image = with_rows(z_image_call((8, 8, 5)), 4)
    flux = with_rows(flux_call(1, 4, 4, 8, has_guidance=True), 4)

    assert (len(z_image["x"]), len(z_image["cap_feats"]), z_image["t"].shape) == (4, 4, (4,))
    assert (len(flux["hidden_states"]), flux["timestep"].shape, flux["guidance"].shape) == (4, (4,), (4,))


# ---------------------------------------------------------------- calls for torch


@pytest.fixture(scope="module")
def transformers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    return {
        "klein": load_pipeline(Flux2KleinPipeline, save_klein, folder / "klein").transformer,
        "z-image": load_pipeline(ZImagePipeline, save_z_image, folder / "z-image").transformer,
    }


FLUX_REFUSED = {
    "filling a cache": {"kv_cache_mode": "extract", "num_ref_tokens": 4},
    "reading a cache": {"kv_cache_mode": "cached", "kv_cache": object()},
    "the scale of LoRAs": {"joint_attention_kwargs": {"scale": 0.5}},
    "no positions": {"img_ids": None},
}
Z_IMAGE_REFUSED = {
    "a control": {"controlnet_block_samples": {0: torch.zeros(1, 64, 32)}},
    "several images": {"x": [[torch.zeros(4, 1, 8, 8)]]},
    "an image's features": {"siglip_feats": [[torch.zeros(1)]]},
    "the scale of LoRAs": {"joint_attention_kwargs": {"scale": 0.5}},
    "other patches": {"patch_size": 1},
}


@pytest.mark.parametrize(
    ("family", "more"),
    [("klein", more) for more in FLUX_REFUSED.values()] + [("z-image", more) for more in Z_IMAGE_REFUSED.values()],
    ids=[*FLUX_REFUSED, *(f"{name} for Z-Image" for name in Z_IMAGE_REFUSED)],
)
def test_a_call_that_the_graph_cannot_compute_is_refused(transformers, family, more):
    rule = graph_inputs_for(transformers[family])
    call = flux_call(1, 4, 4, 8, has_guidance=False) if family == "klein" else z_image_call((8, 8, 5))

    assert rule.takes(call | {"joint_attention_kwargs": None, "return_dict": False})
    assert not rule.takes(call | more)
    assert rule.to_inputs(call | more) is None


def test_a_wrapper_shares_the_weights_and_changes_nothing_in_the_module(transformers):
    for module, call in (
        (transformers["klein"], flux_call(2, 4, 4, 8, has_guidance=False)),
        (transformers["z-image"], z_image_call((8, 8, 5), (16, 8, 9))),
    ):
        expected, rule = module(**call, return_dict=False)[0], graph_inputs_for(module)
        wrapper, inputs = rule.wrapper(module), rule.to_inputs(call)
        assert inputs is not None
        wrapper(*inputs)

        assert {id(one) for one in wrapper.parameters()} <= {id(one) for one in module.parameters()}
        for one, other in zip(module(**call, return_dict=False)[0], expected, strict=True):
            assert torch.equal(one, other)


def test_z_image_with_other_patches_is_refused(transformers):
    module = transformers["z-image"]
    odd = type(module).from_config(dict(module.config) | {"all_patch_size": (1,)})

    with pytest.raises(UnsupportedModule, match="patches"):
        graph_inputs_for(odd)
