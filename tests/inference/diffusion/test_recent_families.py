"""The presets' families of 2026, from folders in the Hub's layout: they paint, and people share passes exactly."""

import copy
from dataclasses import replace

import numpy
import pytest
import torch
from safetensors.torch import save_file

from bot.models import IMAGE_TASKS, IMAGE_TEXT_TO_IMAGE
from bot.ports import TaskAddon
from inference.checkpoints import identify
from inference.diffusion import prefix_caches
from inference.diffusion.batching import batching_rule_for
from inference.diffusion.batching_prefix import MAX_PREFIX
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.lora import LoraManager
from inference.diffusion.previews import preview_decoder
from tests.inference.diffusion.test_families import FAMILIES
from tests.inference.recent_families import MARKERS
from tests.inference.recent_presets import (
    FOLDERS,
    LONG,
    PRESETS,
    SHORT,
    WITH_LORA,
    assert_as_alone,
    load_engine,
    make_folders,
    paint,
    request,
    small_references,
    spec_of,
    two_people,
)
from tests.inference.stream import Stream, generate_alone

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
WITH_PREFIX = ("flux2-klein-9b-kv", "qwen-image-2-1")
"""Their passes have tests of their own below."""
EDITORS = [name for name in FOLDERS if IMAGE_TEXT_TO_IMAGE in PRESETS[name].tasks]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad(), small_references():
        yield


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    return make_folders(tmp_path_factory)


@pytest.fixture(scope="module")
def engines(folder_of):
    loaded = {}

    def engine_for(name):
        if name not in loaded:
            loaded[name] = load_engine(spec_of(name, folder_of(name)))
        return loaded[name]

    yield engine_for
    for engine in loaded.values():
        engine.unload_model()


def test_the_family_of_every_preset_for_images_is_painted_with():
    for_images = {name for name, spec in PRESETS.items() if IMAGE_TASKS & set(spec.tasks) and not spec.demo}

    assert for_images == {*FAMILIES, *FOLDERS, *WITH_LORA}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_preset_paints_for_two_people_is_what_its_pipeline_paints_for_each(engines, name):
    tasks = two_people(name)

    painted = paint(engines(name), tasks)

    assert_as_alone(engines(name), tasks, painted)
    assert engines(name).capabilities["family"] == identify.PIPELINES[pipeline_name(engines(name))][0]


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "flux2-klein-9b"])
def test_so_it_is_in_the_format_of_the_preset(folder_of, name):
    assert PRESETS[name].dtype == "bfloat16"
    engine = load_engine(spec_of(name, folder_of(name), dtype="bfloat16"))
    tasks = two_people(name)

    assert_as_alone(engine, tasks, paint(engine, tasks), levels=6)
    engine.unload_model()


def pipeline_name(engine):
    return type(engine._pipelines[""]).__name__


@pytest.mark.parametrize("name", EDITORS)
def test_edits_with_references_are_what_the_pipeline_paints_alone(engines, name):
    tasks = [request(name, "one", SHORT, "red"), request(name, "two", LONG, "blue", "teal", seed=2)]

    assert_as_alone(engines(name), tasks, paint(engines(name), tasks))


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in WITH_PREFIX])
def test_their_passes_are_shared(engines, name):
    pipeline = engines(name)._pipelines[""]
    stream = Stream(pipeline.transformer)
    tasks = two_people(name)
    for task in tasks:
        stream.add(pipeline, task)
    stream.run_all()

    assert sum(len(names) == 2 for names in stream.passes) >= 2, stream.passes
    assert stream.max_error < 1e-5
    for task in tasks:
        alone = generate_alone(pipeline, task).pixels.astype(int)
        assert numpy.abs(stream.images[task.id].pixels.astype(int) - alone).max() <= 1


def test_guided_and_unguided_rows_of_qwen_image_share_passes(engines):
    pipeline = engines("qwen-image-edit-2511")._pipelines[""]
    stream = Stream(pipeline.transformer)
    guided = request("qwen-image-edit-2511", "guided", SHORT, "red", guidance_scale=3.0)
    for task in (guided, request("qwen-image-edit-2511", "free", LONG, "blue", seed=2)):
        stream.add(pipeline, task)
    stream.run_all()

    alone = generate_alone(pipeline, guided).pixels.astype(int)
    assert ("guided", "free") in stream.passes
    assert numpy.abs(stream.images["guided"].pixels.astype(int) - alone).max() <= 1


def test_latents_of_ernie_are_unpacked_to_the_layout_of_its_decoder(engines):
    pipeline = engines("ernie-image-turbo")._pipelines[""]
    image = generate_alone(pipeline, request("ernie-image-turbo", "wide", SHORT, width=128))

    assert image.latents[-1].shape == (1, 4, 8, 16)
    decode = preview_decoder(pipeline)
    assert decode is not None
    assert decode(image.latents[-1]).shape == (1, 3, 64, 128)


# ---------------------------------------------------------------- LoRAs

LORA_LAYERS = {
    "krea-2-turbo": ("attn.to_gate", "attn.to_q", "ff.down", "text_fusion.projector"),
    "qwen-image-2-1": ("attn.to_v", "img_mlp.gate_layer"),
    "qwen-image-edit-2511": ("attn.add_k_proj", "attn.to_out.0", "img_mlp.net.2", "img_mod.1"),
    "ernie-image-turbo": ("self_attention.to_q", "mlp.linear_fc2"),
}


def make_lora(transformer, layers, path, rename=lambda name: f"transformer.{name}"):
    """A LoRA's file, and the transformer with it merged into the weights at half of its weight."""
    merged = copy.deepcopy(transformer)
    tensors: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(5)
    for name, layer in merged.named_modules():
        if name.endswith(layers):
            up, down = (torch.randn(shape, generator=generator)
                        for shape in ((layer.out_features, 2), (2, layer.in_features)))  # fmt: skip
            layer.weight.data += 0.5 * up @ down
            tensors |= {f"{rename(name)}.lora_A.weight": down, f"{rename(name)}.lora_B.weight": up}
    save_file(tensors, path)
    return merged


@pytest.mark.parametrize("name", LORA_LAYERS)
def test_each_image_has_its_own_loras(folder_of, tmp_path, name):
    """Beside others without, in the engine that serves both."""
    path = tmp_path / "ink.safetensors"
    engine = load_engine(spec_of(name, folder_of(name)))
    pipeline = engine._pipelines[""]
    with_lora = copy.copy(pipeline)
    with_lora.__dict__["transformer"] = make_lora(pipeline.transformer, LORA_LAYERS[name], path)
    plain, other = two_people(name)
    addons = (TaskAddon("ink", "lora", str(path)),)
    inked = replace(other, options={**other.options, "prompt": f"{other.options['prompt']} <lora:ink:0.5>"})
    expected = {task.id: generate_alone(one, task).pixels for one, task in ((pipeline, plain), (with_lora, other))}
    without = generate_alone(pipeline, other).pixels

    painted = paint(engine, [plain, replace(inked, addons=addons)])

    identified = identify.identify_path(path)
    assert (identified.family, identified.reason) == (engine.capabilities["family"], "")
    for task_id, pixels in expected.items():
        assert numpy.abs(painted[task_id] - pixels.astype(int)).max() <= 1, task_id
    assert numpy.abs(painted[other.id] - without.astype(int)).max() > 2
    engine.unload_model()


KREA2_NAMES = {"transformer_blocks": "blocks", "attn.to_gate": "attn.gate", "attn.to_q": "attn.wq", "ff.": "mlp."}


def test_a_lora_of_krea_2_under_the_names_of_its_own_code(folder_of, tmp_path):
    def rename(name):
        for ours, theirs in KREA2_NAMES.items():
            name = name.replace(ours, theirs)
        return f"diffusion_model.{name}"

    engine = load_engine(spec_of("krea-2-turbo", folder_of("krea-2-turbo")))
    transformer, path = engine._pipelines[""].transformer, tmp_path / "ink.safetensors"
    layers = tuple(f"transformer_blocks.0.{name}" for name in ("attn.to_gate", "attn.to_q", "ff.down"))
    merged = make_lora(transformer, layers, path, rename)
    manager = LoraManager(engine._pipelines[""])
    manager.apply(((str(path), 0.5),))

    changed = {name: layer for name, layer in transformer.named_modules() if name.endswith(layers)}
    for name, layer in changed.items():
        values = torch.randn(3, layer.in_features)
        torch.testing.assert_close(layer(values), merged.get_submodule(name)(values))
    assert len(changed) == 3
    assert identify.identify_path(path).family == "krea2"
    engine.unload_model()


@pytest.mark.parametrize("name", ["krea-2-turbo", "qwen-image-2-1", "qwen-image-edit-2511"])
def test_markers_of_images_in_a_prompt_are_words(engines, name):
    """They would stand for pictures that the request does not have."""
    one, other = two_people(name)
    marked = replace(one, id="marked", options={**one.options, "prompt": f"{MARKERS[2]} {SHORT} {MARKERS[3]}"})

    assert_as_alone(engines(name), [marked, other], paint(engines(name), [marked, other]))


# ---------------------------------------------------------------- prefix caches


def prefix_stream(pipeline, name, *tasks):
    stream = Stream(pipeline.transformer)
    for task in tasks:
        stream.add(pipeline, task)
    stream.run_all()
    for task in tasks:
        alone = generate_alone(pipeline, task).pixels.astype(int)
        assert numpy.abs(stream.images[task.id].pixels.astype(int) - alone).max() <= 1, task.id
    return stream


def test_rows_of_qwen_image_21_share_passes_with_prefixes_of_other_lengths(engines):
    """A prompt beside an edit: the first step computes each prefix alone, the others share."""
    name = "qwen-image-2-1"
    pipeline = engines(name)._pipelines[""]
    stream = prefix_stream(
        pipeline, name, request(name, "drawn", LONG), request(name, "changed", "a red fox", "red", seed=2, steps=4)
    )

    assert stream.passes[:2] == [("drawn",), ("changed",)]
    assert stream.passes.count(("drawn", "changed")) == 2
    assert stream.max_error < 1e-5


def test_a_guided_row_of_qwen_image_21_has_two_prefixes(engines):
    name = "qwen-image-2-1"
    guided = request(name, "guided", SHORT, guidance_scale=3.0, negative_prompt="blue")
    stream = prefix_stream(engines(name)._pipelines[""], name, guided, request(name, "free", LONG, seed=2, steps=6))

    assert sum(names == ("guided",) for names in stream.passes) >= 2
    assert any(len(names) == 2 for names in stream.passes)


def test_rows_of_qwen_image_21_with_equal_layouts_compute_their_prefixes_together(engines):
    name = "qwen-image-2-1"
    stream = prefix_stream(
        engines(name)._pipelines[""],
        name,
        request(name, "one", "a red fox", "red"),
        request(name, "two", "a blue cat", "blue", seed=2),
    )

    assert set(stream.passes) == {("one", "two")}


def test_a_very_long_prefix_of_qwen_image_21_is_not_shared(engines):
    transformer = engines("qwen-image-2-1")._pipelines[""].transformer
    rule = batching_rule_for(transformer)
    latents = [torch.zeros(1, 16, 4) for _ in range(2)]

    def cached(text, index):
        states = torch.zeros(1, text, 16)
        layout = torch.arange(text + 4)[None] >= text
        arguments = {
            "hidden_states": latents[index], "timestep": torch.ones(1), "encoder_hidden_states": states,
            "img_shapes": [[(1, 4, 4)]], "img_mask": layout, "kv_cache": object(), "kv_cache_mode": "cached",
        }  # fmt: skip
        return rule.batch_key(rule.bind_arguments(ModuleCall("transformer", "forward", (), arguments)))

    assert cached(MAX_PREFIX, 0) == cached(MAX_PREFIX, 1)
    assert cached(MAX_PREFIX + 1, 0) != cached(MAX_PREFIX + 1, 1)


def test_rows_of_klein_kv_share_passes_with_equally_many_reference_tokens(engines):
    name = "flux2-klein-9b-kv"
    pipeline = engines(name)._pipelines[""]
    stream = prefix_stream(
        pipeline,
        name,
        request(name, "one", SHORT, "red"),
        request(name, "two", LONG, "blue", seed=2, steps=4),
        request(name, "of two", SHORT, "red", "teal", seed=3),
        request(name, "drawn", LONG, seed=4),
    )

    assert stream.passes.count(("one", "two")) == 3
    assert not any({"of two", "drawn"} & set(names) and len(names) > 1 for names in stream.passes)


@pytest.mark.parametrize(("name", "most"), [("qwen-image-2-1", 4), ("flux2-klein-9b-kv", 4), ("krea-2-turbo", 16)])
def test_models_with_prefix_caches_run_fewer_jobs_at_a_time(engines, name, most):
    assert (engines(name).capabilities["rows"], engines(name).free_slots) == (most, most)


@pytest.mark.parametrize(("free_mb", "most"), [(4000, 1), (6000, 1), (8200, 2), (100_000, 4), (0, 4)])
def test_they_run_as_many_as_there_is_memory_for_their_caches(engines, monkeypatch, free_mb, most):
    """The plan counts one reference; 0: the free memory is unknown."""
    pipeline = engines("flux2-klein-9b-kv")._pipelines[""]
    plan = replace(pipeline.offloader.plan, step_mb=4000, decode_mb=1500)
    monkeypatch.setattr(pipeline.offloader, "plan", plan)
    monkeypatch.setattr(prefix_caches, "free_device_mb", lambda _: free_mb)

    assert prefix_caches.max_tasks(pipeline) == most
