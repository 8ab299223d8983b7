"""UNets as graphs of every installed backend: any rows, sizes and prompts, with and without controls, as torch."""

import pytest
import torch

from inference.backends.graph import graph_backend
from inference.backends.graph_inputs import graph_inputs_for
from inference.diffusion.loader import load_pipeline
from tests.inference.backends.graphs import backend_name, export_denoiser, save_v_prediction
from tests.inference.families import save_sdxl
from tests.inference.support import make_model
from tests.inference.tiny import save_diffusion

__all__ = ["backend_name"]
FAMILIES = {"sd": save_diffusion, "sd2": save_v_prediction, "sdxl": save_sdxl}


@pytest.fixture(scope="module", params=FAMILIES)
def peer(backend_name, request, tmp_path_factory):
    """A UNet, its rule, and its graph."""
    torch.set_num_threads(1)
    folder = FAMILIES[request.param](tmp_path_factory.mktemp("model"))
    build = export_denoiser(backend_name, folder, tmp_path_factory.mktemp("build"))
    graph = graph_backend(backend_name).open(build, threads=1, precision="float32")
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
def difference(peer, arguments) -> float:
    """The largest between the graph and torch, which gets lists of its own."""
    unet, rule, graph = peer
    inputs = rule.to_inputs(arguments)
    assert inputs is not None
    computed = rule.to_output(graph.run(inputs), arguments | {"return_dict": False})[0]
    features = arguments.get("down_intrablock_additional_residuals")
    fresh = {} if features is None else {"down_intrablock_additional_residuals": list(features)}
    return float((computed - unet(**arguments | fresh).sample).abs().max())


@pytest.mark.parametrize(("height", "width", "tokens"), [(8, 8, 16), (12, 8, 32), (9, 7, 3), (5, 16, 16)])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_any_rows_sizes_and_prompts(peer, rows, height, width, tokens):
    assert difference(peer, call(peer[0], rows, height, width, tokens)) < 2e-5


@torch.no_grad()
def test_a_row_alone_equals_itself_in_a_batch(peer):
    unet, rule, graph = peer
    inputs = rule.to_inputs(call(unet, 4))
    together = graph.run(inputs)[0]
    count = len(rule._names())

    alone = [graph.run([*(one[row : row + 1] for one in inputs[:count]), *inputs[count:]])[0] for row in range(4)]

    torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=1e-5)


def test_one_timestep_for_all_rows(peer):
    assert difference(peer, call(peer[0], 3) | {"timestep": torch.tensor(501)}) < 2e-5
    assert difference(peer, call(peer[0], 3) | {"timestep": 501}) < 2e-5


def residuals(height: int, width: int, rows: int = 2):
    half = (-(-height // 2), -(-width // 2))
    shapes = [(16, height, width), (16, height, width), (16, *half), (32, *half)]
    return [torch.randn(rows, *shape) for shape in shapes]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
def test_residuals_of_controls(peer, height, width):
    down = residuals(height, width)
    middle = {"mid_block_additional_residual": torch.randn(2, 32, *down[-1].shape[2:])}
    arguments = call(peer[0], 2, height, width) | {"down_block_additional_residuals": tuple(down)} | middle

    assert difference(peer, arguments) < 5e-5


@pytest.mark.parametrize("count", [2, 3])
def test_features_of_adapters(peer, count):
    """The third, as SDXL's adapters have one, is for the middle."""
    features = [torch.randn(2, 16, 4, 4), torch.randn(2, 32, 4, 4), torch.randn(2, 32, 4, 4)][:count]

    assert difference(peer, call(peer[0], 2) | {"down_intrablock_additional_residuals": features}) < 5e-5


@torch.no_grad()
def test_outputs_stay_when_the_graph_runs_again(peer):
    unet, rule, graph = peer
    first = graph.run(rule.to_inputs(call(unet, 2)))[0]
    kept = first.clone()

    graph.run(rule.to_inputs(call(unet, 2, 12, 12)))
    graph.run([torch.zeros_like(one) for one in rule.to_inputs(call(unet, 2))])

    assert torch.equal(first, kept)
