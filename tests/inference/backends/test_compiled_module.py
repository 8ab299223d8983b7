"""A compiled module is called like the torch module; what its graph cannot compute, the torch module computes."""

import copy
import inspect

import pytest
import torch
from diffusers import UNet2DConditionModel

from inference.backends.compiled_module import CompiledModule
from inference.backends.graph_inputs import UnsupportedModule, graph_inputs_for

CONFIG = {
    "sample_size": 8, "in_channels": 4, "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 8, "attention_head_dim": 4,
}  # fmt: skip


class WrappedGraph:
    """Computes the wrapper itself."""

    def __init__(self, wrapper: torch.nn.Module) -> None:
        self._wrapper = wrapper
        self.runs = 0
        self.is_closed = False

    def run(self, inputs):
        self.runs += 1
        with torch.no_grad():
            return (self._wrapper(*inputs),)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(**CONFIG).eval()


@pytest.fixture
def compiled(unet):
    return compile_with_torch(copy.deepcopy(unet), unet)


def compile_with_torch(module, unet, **fields) -> CompiledModule:
    rule = graph_inputs_for(module)
    assert rule is not None
    graph = WrappedGraph(rule.wrapper(copy.deepcopy(unet)))
    return CompiledModule(module, rule, graph, backend="openvino", **{"reload": lambda: copy.deepcopy(unet)} | fields)


def call(rows: int = 2, side: int = 8, **more):
    generator = torch.Generator().manual_seed(rows)
    sample = torch.randn(rows, 4, side, side, generator=generator)
    states = torch.randn(rows, 5, 8, generator=generator)
    return {"sample": sample, "timestep": torch.tensor(7), "encoder_hidden_states": states} | more


def runs_of(compiled: CompiledModule) -> int:
    return compiled.__dict__["_graph"].runs


def test_it_looks_like_the_torch_module(compiled, unet):
    assert inspect.signature(compiled.forward) == inspect.signature(unet.forward)
    assert compiled.config is not None
    assert dict(compiled.config) == dict(unet.config)
    assert (compiled.dtype, compiled.device) == (torch.float32, torch.device("cpu"))
    assert compiled.conv_in.in_channels == 4


@torch.no_grad()
def test_it_returns_what_the_torch_module_returns(compiled, unet):
    arguments = call(3)

    plain, tupled = compiled(**arguments), compiled(*arguments.values(), return_dict=False)

    torch.testing.assert_close(plain.sample, unet(**arguments).sample, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tupled[0], plain.sample)
    assert runs_of(compiled) == 2


@torch.no_grad()
def test_it_answers_in_the_number_format_of_the_call(unet):
    compiled = compile_with_torch(copy.deepcopy(unet).bfloat16(), unet)

    predicted = compiled(**{name: value.bfloat16() for name, value in call().items()}, return_dict=False)[0]

    assert compiled.dtype == predicted.dtype == torch.bfloat16


UNSUPPORTED = {
    "references": {"cross_attention_kwargs": {"references": object()}},
    "masks": {"encoder_attention_mask": torch.ones(2, 5)},
    "attention": {"attention_mask": torch.ones(2, 64)},
    "labels": {"class_labels": torch.zeros(2)},
    "images": {"added_cond_kwargs": {"image_embeds": torch.zeros(2, 1, 8)}},
    "half of a ControlNet": {"mid_block_additional_residual": torch.zeros(2, 16, 4, 4)},
    "few residuals": {
        "down_block_additional_residuals": (torch.zeros(2, 8, 8, 8),),
        "mid_block_additional_residual": torch.zeros(2, 16, 4, 4),
    },
}


@pytest.mark.parametrize("more", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_a_call_that_the_graph_cannot_compute_is_made_by_torch(compiled, more, monkeypatch):
    made = []
    monkeypatch.setattr(compiled.original, "forward", lambda **arguments: made.append(arguments))

    compiled(**call(**more))

    assert made
    assert runs_of(compiled) == 0


@torch.no_grad()
def test_released_weights_come_back_into_the_same_module(compiled, unet):
    module = compiled.original
    assert compiled.release_original()
    assert not compiled.is_original_loaded
    assert compiled.conv_in.in_channels == 4
    compiled(**call())
    assert not compiled.is_original_loaded

    compiled.restore_original()

    assert compiled.original is module
    torch.testing.assert_close(module(**call()).sample, unet(**call()).sample)


@torch.no_grad()
def test_weights_that_layers_share_come_back_to_each_of_them(unet):
    def with_shared_weights():
        module = copy.deepcopy(unet)
        first, second = module.mid_block.resnets
        second.conv1.weight = first.conv1.weight
        return module

    expected = with_shared_weights()(**call()).sample
    compiled = compile_with_torch(with_shared_weights(), unet, reload=with_shared_weights)
    compiled.release_original()

    torch.testing.assert_close(compiled.original(**call()).sample, expected)


def test_a_module_that_cannot_be_loaded_again_is_not_released(unet):
    rule = graph_inputs_for(unet)
    assert rule is not None
    compiled = CompiledModule(unet, rule, WrappedGraph(unet), backend="openvino")

    assert not compiled.release_original()
    assert compiled.is_original_loaded


def test_a_unet_with_other_conditions_is_refused_by_name():
    unet = UNet2DConditionModel(**CONFIG, class_embed_type="timestep")

    with pytest.raises(UnsupportedModule, match="class_embed_type"):
        graph_inputs_for(unet)
    assert graph_inputs_for(torch.nn.Linear(1, 1)) is None


def test_closing_frees_the_graph(compiled):
    compiled.close()

    assert compiled.__dict__["_graph"].is_closed
