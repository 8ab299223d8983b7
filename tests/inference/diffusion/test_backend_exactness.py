"""Compiled denoisers change no image: on every installed backend, the mixed streams of the other tests equal the stock
pipelines' images within one level. What a graph cannot compute runs on torch, in passes of its own."""

from typing import Any

import numpy
import pytest
import torch
from diffusers import UNet2DConditionModel

from bot.errors import OutOfMemory
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from inference.backends.export import export_module
from inference.backends.graph import graph_backend
from inference.backends.graph_inputs import graph_inputs_for
from inference.checkpoints.resolve import model_path
from inference.diffusion import step_loop
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import compiled_denoiser
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.engine.base import TaskDone, TaskFailed
from inference.engine.cost_model import PassCostModel
from inference.memory import planner
from tests.inference.backends.graphs import BACKENDS, export_denoiser, save_v_prediction
from tests.inference.diffusion import test_batching, test_control, test_ip_adapter
from tests.inference.diffusion.test_control import levels
from tests.inference.families import save_sdxl
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"), pytest.mark.filterwarnings("ignore")]
SAVERS = {"sd": save_diffusion, "sd2": save_v_prediction, "sdxl": save_sdxl}
STARTER = "models/starter-image"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def full_passes(monkeypatch):
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)


@pytest.fixture(scope="module", params=BACKENDS)
def builds(request, tmp_path_factory):
    """By family: the folder of the model, and of its build, made when first asked for. Engines find it."""
    made: dict[str, Any] = {}

    def build_for(family: str) -> tuple[Any, Any]:
        if family not in made:
            folder = SAVERS[family](tmp_path_factory.mktemp(family) / "model")
            made[family] = folder, export_denoiser(request.param, folder, tmp_path_factory.mktemp("build"))
        return made[family]

    build_for.backend = request.param  # type: ignore[attr-defined]
    return build_for


@pytest.fixture
def finds(monkeypatch):
    """Let engines find this build."""
    return lambda build: monkeypatch.setattr(compiled_denoiser, "find_build", lambda *_: build)


def count_runs(engine: DiffusionEngine) -> dict[str, int]:
    """Passes of the denoiser from now on: on the graph, and on torch."""
    runs, module = {"graph": 0, "torch": 0}, engine._step_loop.modules["unet"]

    def count(name: str) -> Any:
        return lambda *_: runs.update({name: runs[name] + 1})

    module.compiled.register_forward_pre_hook(count("graph"))
    module.module.register_forward_pre_hook(count("torch"))
    return runs


STREAM = [(request, number, 3 if number == 1 else None) for number, request in enumerate(test_batching.REQUESTS[::4])]
"""Text, images and masks with every sampler, guidance and size, which join and leave."""


@pytest.mark.parametrize("family", SAVERS)
def test_each_image_of_a_stream_equals_the_stock_pipelines(builds, finds, family):
    folder, build = builds(family)
    finds(build)
    peer = test_batching.Peer(folder, backend=builds.backend)
    runs = count_runs(peer.engine)

    test_batching.check_stream(peer, *zip(*STREAM, strict=True))

    assert peer.engine.capabilities["backend"] == builds.backend
    assert runs["graph"] > 0 == runs["torch"]


@pytest.mark.parametrize("family", test_control.SAVERS)
def test_controls_share_passes_of_the_graph(builds, finds, family, tmp_path):
    """ControlNets, adapters, inpainting, and images without a control."""
    finds(builds(family)[1])
    peer = test_control.Peer(test_control.save_model(tmp_path, family), family, "float32", backend=builds.backend)
    tasks = test_control.mixed_stream(peer)
    test_control.generated(peer.engine, *(peer.task(kind, (kind,), steps=1) for kind in peer.paths))
    runs = count_runs(peer.engine)
    images = test_control.generated(peer.engine, *tasks)

    for task in tasks:
        assert levels(images[task.id], peer.expected(task)) <= 1, task.id
    assert runs == {"graph": test_control.STEPS, "torch": 0}


def test_a_control_is_called_for_all_images_that_a_pass_of_the_graph_takes(builds, finds, tmp_path, monkeypatch):
    """By the costs of the graph's passes, not by torch's, of which none were measured."""
    finds(builds("sd")[1])
    peer = test_control.Peer(test_control.save_model(tmp_path, "sd"), "sd", "float32", backend=builds.backend)
    test_control.generated(peer.engine, peer.task("measured", ("canny",), width=24))
    monkeypatch.setattr(
        PassCostModel, "best_size", lambda self, limit, unit=1: limit if self.measured_points() else unit
    )
    counts = test_control.count_calls(peer.engine)
    for number in range(3):
        peer.engine.add_task(peer.task(f"image {number}", ("canny",), width=24))
    peer.engine.step()

    assert [calls for name, calls in counts.items() if name.startswith("control")] == [1]


@pytest.fixture(scope="module")
def adapter_model(tmp_path_factory):
    """Its folder."""
    return test_ip_adapter.save_with_adapters(tmp_path_factory.mktemp("adapters"), "sd")


@pytest.fixture
def with_adapters(builds, finds, adapter_model):
    finds(builds("sd")[1])
    return test_ip_adapter.Peer(adapter_model, "float32", backend=builds.backend)


def test_references_and_loras_run_on_torch_beside_the_graph(with_adapters):
    names = [name for name, case in test_ip_adapter.CASES.items() if not case.options]
    runs = count_runs(with_adapters.engine)
    images = with_adapters.generated(*names)

    for name in names:
        assert test_ip_adapter.difference(images[name], with_adapters.expected(test_ip_adapter.CASES[name])) <= 1, name
    assert runs["graph"] > 0 < runs["torch"]
    assert len({images[name].tobytes() for name in names}) == len(names)


def test_the_costs_of_both_are_kept_apart(with_adapters, builds):
    """A task's measurements name what computed it."""
    plain = with_adapters.task("plain", test_ip_adapter.CASES["plain"])
    with_lora = with_adapters.task("lora", next(case for case in test_ip_adapter.CASES.values() if case.has_lora))
    samples = {}
    for task in (plain, with_lora, plain, with_lora):
        with_adapters.run(task)
        samples[task.id] = with_adapters.engine.cost_samples(task)

    assert {sample.backend for sample in samples["plain"]} == {builds.backend}
    assert {sample.backend for sample in samples["lora"]} == {"torch"}


def test_a_prompt_that_changes_between_steps_stays_on_the_graph(builds, finds):
    folder, build = builds("sd")
    finds(build)
    plain, compiled = (engine_of(folder, backend) for backend in ("torch", builds.backend))
    options = {"width": 32, "height": 32, "steps": 2, "guidance_scale": 3.0}
    tasks = [make_task(prompt, id=prompt, options=options) for prompt in ("a [fox:cat:0.5] on red", "a fox on red")]
    runs = count_runs(compiled)
    images, expected = (test_control.generated(engine, *tasks) for engine in (compiled, plain))

    assert max(levels(images[task.id], expected[task.id]) for task in tasks) <= 1
    assert runs == {"graph": 2, "torch": 0}
    assert len({image.tobytes() for image in images.values()}) == 2


def test_seamless_images_run_on_torch(builds, finds):
    folder, build = builds("sd")
    finds(build)
    plain, compiled = (engine_of(folder, backend) for backend in ("torch", builds.backend))
    task = make_task(options={"width": 32, "height": 32, "tiling": True, "guidance_scale": 3.0})
    runs = count_runs(compiled)

    images = [test_control.generated(engine, task)[task.id] for engine in (plain, compiled)]

    assert levels(*images) <= 1
    assert runs == {"graph": 0, "torch": 3}


def engine_of(folder: Any, backend: str, **model: Any) -> DiffusionEngine:
    tasks = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    engine = DiffusionEngine(make_model("tiny", tasks=tasks, repo=str(folder), backend=backend, **model))
    engine.load_model("cpu")
    return engine


def test_released_weights_are_loaded_for_the_first_lora(builds, finds, adapter_model, monkeypatch):
    """Where memory has no place for both denoisers."""
    monkeypatch.setattr(planner, "keeps_both_denoisers", lambda *_: False)
    finds(builds("sd")[1])
    folder = adapter_model
    peer = test_ip_adapter.Peer(folder, "float32", backend=builds.backend, has_stock=False)
    unet = peer.engine._step_loop.modules["unet"]
    case = next(case for case in test_ip_adapter.CASES.values() if case.has_lora)

    plain = peer.run(peer.task("plain", test_ip_adapter.CASES["plain"]))["plain"]
    assert not unet.compiled.is_original_loaded
    image = peer.run(peer.task("lora", case))["lora"]
    assert unet.compiled.is_original_loaded

    on_torch = test_ip_adapter.Peer(folder, "float32", has_stock=False)
    assert levels(plain, on_torch.run(on_torch.task("plain", test_ip_adapter.CASES["plain"]))["plain"]) <= 1
    assert levels(image, on_torch.run(on_torch.task("lora", case))["lora"]) <= 1


def test_without_memory_for_the_released_weights_only_what_needs_them_fails(builds, finds, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "keeps_both_denoisers", lambda *_: False)
    finds(builds("sd")[1])
    engine = engine_of(builds("sd")[0], builds.backend)
    monkeypatch.setattr(compiled_denoiser, "free_ram_mb", lambda: 0)
    names = ("plain", "seamless", "also seamless")
    for name in names:
        engine.add_task(make_task(id=name, options={"width": 32, "height": 32, "tiling": name != "plain"}))
    events = [event for _ in range(10) for event in engine.step()]

    failed = {event.task_id: type(event.error) for event in events if isinstance(event, TaskFailed)}
    assert failed == dict.fromkeys(names[1:], OutOfMemory)
    assert [event.task_id for event in events if isinstance(event, TaskDone)] == ["plain"]
    assert engine._step_loop.max_rows == 0, "no pass was too large"


def test_a_pass_that_runs_out_of_memory_is_repeated_with_fewer_rows(builds, finds, monkeypatch):
    folder, build = builds("sd")
    finds(build)
    peer = test_batching.Peer(folder, backend=builds.backend)
    compiled = peer.engine._step_loop.modules["unet"].compiled
    forward = compiled.forward

    def forward_two_rows(sample, *args, **arguments):
        if len(sample) > 2:
            raise RuntimeError("std::bad_alloc")
        return forward(sample, *args, **arguments)

    monkeypatch.setitem(compiled.__dict__, "forward", forward_two_rows)
    requests = [test_batching.Request(guidance=1.0, seed=seed, steps=2) for seed in (1, 2, 3, 4)]

    test_batching.check_stream(peer, requests, [0] * 4, [None] * 4)

    assert peer.engine._step_loop.max_rows == 2


def test_a_graph_that_fails_leaves_its_images_to_torch(builds, finds, monkeypatch, capfd):
    """The pass is made again, and so are all later ones."""
    folder, build = builds("sd")
    finds(build)
    peer = test_batching.Peer(folder, backend=builds.backend)
    compiled = peer.engine._step_loop.modules["unet"].compiled
    run = compiled.__dict__["_graph"].run
    calls: list[int] = []

    def fail_third_pass(inputs):
        calls.append(len(calls))
        if len(calls) > 2:
            raise RuntimeError("the library has a fault")
        return run(inputs)

    monkeypatch.setattr(compiled.__dict__["_graph"], "run", fail_third_pass)
    requests = [test_batching.Request(guidance=3.0, seed=seed, steps=4) for seed in (1, 2)]

    test_batching.check_stream(peer, requests, [0] * 2, [None] * 2)

    assert len(calls) == 3
    assert "the library has a fault" in capfd.readouterr().err


def test_an_image_that_torch_cannot_make_either_does_not_end_the_graphs_use(builds, finds, monkeypatch):
    folder, build = builds("sd")
    finds(build)
    engine = engine_of(folder, builds.backend)
    unet = engine._step_loop.modules["unet"]
    with monkeypatch.context() as patch:
        for one in (unet.compiled, unet.module):
            patch.setitem(one.__dict__, "forward", lambda *_, **__: 1 / 0)
        engine.add_task(make_task(id="faulty", options={"width": 32, "height": 32}))
        events = [event for _ in range(3) for event in engine.step()]
    runs = count_runs(engine)
    test_control.generated(engine, make_task(id="good", options={"width": 32, "height": 32}))

    assert [event.task_id for event in events if isinstance(event, TaskFailed)] == ["faulty"]
    assert runs["graph"] > 0 == runs["torch"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_only_the_denoiser_rounds(builds, finds, dtype):
    """The rest of the pipeline, and what runs on torch, stay in float32. ONNX Runtime's CPU provider has no half."""
    folder, build = builds("sd")
    full = engine_of(folder, "torch")
    finds(build)
    half = engine_of(folder, builds.backend, dtype=dtype)
    plain, seamless = (
        make_task(id=name, options={"width": 32, "height": 32, "tiling": name == "seamless", "guidance_scale": 3.0})
        for name in ("plain", "seamless")
    )
    images = {
        task.id: [test_control.generated(one, task)[task.id] for one in (full, half)] for task in (plain, seamless)
    }

    if builds.backend == "onnx":
        assert half.capabilities["backend_problem"] == "refused"
    else:
        assert half.capabilities["dtype"] == dtype
    assert levels(*images["plain"]) <= 8
    assert levels(*images["seamless"]) == 0


REFUSALS = {"not_built": None, "damaged": "damaged"}


@pytest.mark.parametrize(("problem", "build"), REFUSALS.items())
def test_without_a_build_that_opens_torch_serves_on(builds, finds, tmp_path, problem, build):
    folder, _ = builds("sd")
    (tmp_path / "graph.xml").write_text("<net")
    finds(None if build is None else tmp_path)
    engine = engine_of(folder, builds.backend)

    images = test_control.generated(engine, make_task(options={"width": 32, "height": 32}))

    assert engine.capabilities["backend"] == "torch"
    assert engine.capabilities["backend_problem"] == problem
    assert images


def test_the_starter_model(builds, finds, tmp_path):
    """One guided and one unguided image together, each within a level of the stock pipeline's."""
    finds(export_denoiser(builds.backend, model_path(make_model(repo=STARTER)), tmp_path))
    engine = engine_of(STARTER, builds.backend)
    options = {"width": 256, "height": 256, "steps": 3, "negative_prompt": "", "sampler": ""}
    tasks = [
        make_task("a red fox", id=f"{guidance}", options=options | {"guidance_scale": guidance}, model=engine._model)
        for guidance in (4.0, 1.0)
    ]
    for task in tasks:
        engine.add_task(task)
    images: dict[str, numpy.ndarray] = {}
    while len(images) < 2:
        images |= {
            event.task_id: numpy.frombuffer(event.image.pixels, numpy.uint8)
            for event in engine.step()
            if hasattr(event, "image")
        }

    stock = load_pipeline(engine._model, model_path(engine._model), "cpu")
    for task in tasks:
        expected = generate(stock, task, 7, lambda *_: None)[0]
        assert levels(images[task.id], expected.reshape(-1)) <= 1, task.id
    assert engine.capabilities["backend"] != step_loop.TORCH


# ---------------------------------------------------------------- one call of the graph


@pytest.fixture(scope="module", params=SAVERS)
def graph_peer(builds, request):
    """A UNet, its rule, and its graph."""
    folder, build = builds(request.param)
    graph = graph_backend(builds.backend).open(build, threads=1, precision="float32")
    unet = load_pipeline(make_model(repo=str(folder)), folder, "cpu").unet
    yield unet, graph_inputs_for(unet), graph
    graph.close()


def call(unet, rows: int, height: int = 8, width: int = 8, tokens: int = 16):
    generator = torch.Generator().manual_seed(rows + height)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    arguments = {
        "sample": noise(rows, 4, height, width),
        "timestep": torch.linspace(999, 1, rows),
        "encoder_hidden_states": noise(rows, tokens, unet.config.cross_attention_dim),
    }
    if unet.config.addition_embed_type:
        arguments["added_cond_kwargs"] = {"text_embeds": noise(rows, 16), "time_ids": 32 * noise(rows, 6).abs()}
    return arguments


@torch.no_grad()
def difference(graph_peer, arguments) -> float:
    """The largest between the graph and torch, which gets lists of its own."""
    unet, rule, graph = graph_peer
    inputs = rule.to_inputs(arguments)
    assert inputs is not None
    computed = rule.to_output(graph.run(inputs), arguments | {"return_dict": False})[0]
    features = arguments.get("down_intrablock_additional_residuals")
    fresh = {} if features is None else {"down_intrablock_additional_residuals": list(features)}
    return float((computed - unet(**arguments | fresh).sample).abs().max())


@pytest.mark.parametrize(
    ("rows", "height", "width", "tokens"), [(1, 8, 8, 16), (2, 12, 8, 32), (5, 9, 7, 3), (1, 5, 16, 16)]
)
def test_any_rows_sizes_and_prompts(graph_peer, rows, height, width, tokens):
    assert difference(graph_peer, call(graph_peer[0], rows, height, width, tokens)) < 2e-5


UNETS: dict[str, dict[str, Any]] = {
    "guidance as a condition": {"time_cond_proj_dim": 8},
    "inpainting": {"in_channels": 9},
    "two layers a block": {"layers_per_block": 2, "act_fn": "gelu", "mid_block_scale_factor": 2},
}


@pytest.mark.parametrize("change", UNETS.values(), ids=UNETS)
def test_unets_of_other_settings(builds, tmp_path, change):
    torch.manual_seed(1)
    folder = builds("sd")[0]
    config = UNet2DConditionModel.load_config(folder, subfolder="unet") | change
    unet = UNet2DConditionModel.from_config(config).eval()
    backend, rule = graph_backend(builds.backend), graph_inputs_for(unet)
    export_module(unet, backend, tmp_path)
    graph = backend.open(tmp_path, threads=1, precision="float32")
    arguments = call(unet, 3, 12, 9)
    arguments["sample"] = torch.randn(3, unet.config.in_channels, 12, 9)

    assert difference((unet, rule, graph), arguments) < 2e-5
    if "time_cond_proj_dim" in change:
        assert difference((unet, rule, graph), arguments | {"timestep_cond": torch.randn(3, 8)}) < 2e-5
    graph.close()


@torch.no_grad()
def test_a_row_alone_equals_itself_in_a_batch(graph_peer):
    unet, rule, graph = graph_peer
    inputs = rule.to_inputs(call(unet, 4))
    together = graph.run(inputs)[0]
    count = len(rule._names())

    alone = [graph.run([*(one[row : row + 1] for one in inputs[:count]), *inputs[count:]])[0] for row in range(4)]

    torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=1e-5)


def test_one_timestep_for_all_rows(graph_peer):
    assert difference(graph_peer, call(graph_peer[0], 3) | {"timestep": torch.tensor(501)}) < 2e-5
    assert difference(graph_peer, call(graph_peer[0], 3) | {"timestep": 501}) < 2e-5


def residuals(height: int, width: int, rows: int = 2):
    half = (-(-height // 2), -(-width // 2))
    shapes = [(16, height, width), (16, height, width), (16, *half), (32, *half)]
    return [torch.randn(rows, *shape) for shape in shapes]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
def test_residuals_of_controls(graph_peer, height, width):
    down = residuals(height, width)
    middle = {"mid_block_additional_residual": torch.randn(2, 32, *down[-1].shape[2:])}
    arguments = call(graph_peer[0], 2, height, width) | {"down_block_additional_residuals": tuple(down)} | middle

    assert difference(graph_peer, arguments) < 5e-5


@pytest.mark.parametrize("count", [2, 3])
def test_features_of_adapters(graph_peer, count):
    """The third, as SDXL's adapters have one, is for the middle."""
    features = [torch.randn(2, 16, 4, 4), torch.randn(2, 32, 4, 4), torch.randn(2, 32, 4, 4)][:count]

    assert difference(graph_peer, call(graph_peer[0], 2) | {"down_intrablock_additional_residuals": features}) < 5e-5


@torch.no_grad()
def test_outputs_stay_when_the_graph_runs_again(graph_peer):
    unet, rule, graph = graph_peer
    first = graph.run(rule.to_inputs(call(unet, 2)))[0]
    kept = first.clone()

    graph.run(rule.to_inputs(call(unet, 2, 12, 12)))
    graph.run([torch.zeros_like(one) for one in rule.to_inputs(call(unet, 2))])

    assert torch.equal(first, kept)
