"""FLUX 3's distilled blocks, a modular pipeline, as coroutines: what docs/adr/0007 measured."""

import copy
from functools import partial

import numpy
import pytest
import torch
from diffusers import AutoencoderKLFlux2, Flux3DistilledAutoBlocks, Flux3Transformer2DModel
from transformers import Qwen3VLForConditionalGeneration

from inference.diffusion.batching import batching_rule_for
from inference.diffusion.coroutines import InterceptedCalls, ModuleCall, PipelineCoroutine, with_proxies
from inference.diffusion.processors import load_processors
from tests.inference.recent_families import make_qwen3_vl_config, save_qwen_processor

PROMPTS = {"one": ("a red fox", 1, 3), "other": ("a blue cat on the red background", 2, 4)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Stand-in components; its prompt upsampler, a model of 9 billion weights, is left out."""
    folder = tmp_path_factory.mktemp("flux-3")
    save_qwen_processor(folder / "tokenizer", "Qwen3VLProcessor")
    processor = load_processors({"tokenizer": ["transformers", "Qwen3VLProcessor"]}, folder)["tokenizer"]
    torch.manual_seed(0)
    blocks = Flux3DistilledAutoBlocks()
    blocks.sub_blocks.pop("prompt_upsampler")
    made = blocks.init_pipeline()
    made.update_components(
        text_encoder=Qwen3VLForConditionalGeneration(make_qwen3_vl_config(processor.tokenizer)),
        tokenizer=processor,
        vae=AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
            layers_per_block=1, latent_channels=4,
        ),
        transformer=Flux3Transformer2DModel(
            in_channels=16, cond_in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, timestep_channels=16, axes_dims_rope=(4, 4, 4, 4),
            flow_map=True,
        ),
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def paint(pipeline, prompt, seed, steps):
    """Pixels, float in [0, 1]."""
    return pipeline(
        prompt=prompt,
        generator=torch.Generator().manual_seed(seed),
        width=64,
        height=64,
        num_inference_steps=steps,
        text_encoder_out_layers=(1, 2),
        output_type="np",
        output="images",
    )[0]


def test_two_people_share_the_passes_of_a_modular_pipeline_and_get_what_it_paints_alone(pipeline):
    alone = {name: paint(pipeline, *request) for name, request in PROMPTS.items()}
    rule = batching_rule_for(pipeline.transformer)
    running, pending, painted, passes = {}, {}, {}, []

    def on_outcome(name, outcome):
        if isinstance(outcome, ModuleCall):
            pending[name] = rule.bind_arguments(outcome)
        else:
            painted[name] = outcome.value

    for name, request in PROMPTS.items():
        intercepted = InterceptedCalls(
            methods={"transformer": ("forward",)},
            overrides={"scheduler": copy.deepcopy(pipeline.scheduler)},
            device=torch.device("cpu"),
        )
        proxied = with_proxies(pipeline, intercepted)
        running[name] = PipelineCoroutine(partial(paint, proxied, *request))
        on_outcome(name, running[name].resume())
    while pending:
        keys = {name: rule.batch_key(call) for name, call in pending.items()}
        names = [name for name in pending if keys[name] == keys[next(iter(keys))]]
        calls = [pending.pop(name) for name in names]
        output = pipeline.transformer(**rule.merge_calls(calls))
        passes.append(tuple(names))
        for name, part in zip(names, rule.split_output(output, [1] * len(names)), strict=True):
            on_outcome(name, running[name].resume(part))

    assert passes == [("one", "other")] * 3 + [("other",)]
    for name, pixels in painted.items():
        assert pixels.std() > 0.02
        assert numpy.abs(pixels - alone[name]).max() < 1 / 255
