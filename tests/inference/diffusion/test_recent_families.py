"""The presets' families of 2026, from folders in the Hub's layout: they paint, and people share passes exactly."""

import json
import shutil
from dataclasses import replace

import numpy
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21 as qwen_21
from PIL import Image
from safetensors.torch import save_file

from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_TASKS, IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, split_repo_file
from bot.ports import TaskImage
from composition.settings import shipped_models
from inference.checkpoints import identify, resolve
from inference.diffusion.batching import batching_rule_for
from inference.diffusion.batching_prefix import MAX_PREFIX
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.diffusion.processors import load_processors
from inference.diffusion.samplers import Samplers
from inference.engine.base import ImageReady, TaskDone
from tests.inference.diffusion.test_families import FAMILIES
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.families import save_klein, save_sdxl
from tests.inference.recent_families import (
    TEMPLATE,
    save_ernie,
    save_klein_kv,
    save_krea2,
    save_qwen_edit,
    save_qwen_image_21,
)
from tests.inference.stream import Stream, generate_alone
from tests.inference.support import make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
PRESETS = shipped_models()
FOLDERS = {
    "flux2-klein-9b": save_klein,
    "flux2-klein-9b-kv": save_klein_kv,
    "krea-2-turbo": save_krea2,
    "qwen-image-2-1": save_qwen_image_21,
    "qwen-image-edit-2511": save_qwen_edit,
    "ernie-image-turbo": save_ernie,
}
PADDED = ("flux2-klein-9b", "flux2-klein-9b-kv", "krea-2-turbo")
"""Whose prompts are padded to one length."""
WITH_PREFIX = ("flux2-klein-9b-kv", "qwen-image-2-1")
"""Their passes have tests of their own below."""
WITH_LORA = {"sdxl-lcm": save_sdxl, "sd15-lcm": save_diffusion}
EDITORS = [name for name in FOLDERS if IMAGE_TEXT_TO_IMAGE in PRESETS[name].tasks]
SHORT, LONG = "a red fox on the blue background", "a blue cat on the red background , what is a fox ?"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", autouse=True)
def small_references():
    """Qwen's pipelines enlarge references to a megapixel; here to 64 x 64 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        dimensions = qwen_21.calculate_dimensions
        patch.setattr(qwen_21, "calculate_dimensions", lambda area, ratio: dimensions(area / 256, ratio))
        patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
        patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
        yield


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """By preset, made when first asked for."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = FOLDERS[name](tmp_path_factory.mktemp("recent") / name)
        return made[name]

    return folder


def spec_of(name, folder, **changes):
    own = {"repo": str(folder), "dtype": "float32", "loras": (), "revision": ""}
    return replace(PRESETS[name], **(own | changes))


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


def load_engine(spec):
    engine = DiffusionEngine(spec)
    engine.load_model("cpu")
    if spec.name in PADDED:
        shorten_prompts(engine._pipelines[""])
    return engine


def shorten_prompts(pipeline):
    """Pad prompts to 64 tokens; 512 would be most of the work."""
    encode = pipeline.encode_prompt
    pipeline.encode_prompt = lambda **arguments: encode(**(arguments | {"max_sequence_length": 64}))


def picture(colour):
    gradient = Image.linear_gradient("L").resize((64, 64))
    return Media(
        png(Image.composite(Image.new("RGB", (64, 64), colour), gradient.convert("RGB"), gradient)), "image/png"
    )


def request(name, id, prompt, *colours, seed=1, **options):
    spec = PRESETS[name]
    given = {
        "steps": 3, "guidance_scale": spec.guidance_scale, "width": 64, "height": 64, "negative_prompt": "",
        "sampler": "", "count": 1, "seed": seed,
    }  # fmt: skip
    images = tuple(
        TaskImage(role, picture(colour)) for role, colour in zip(("init", "reference"), colours, strict=False)
    )
    task = IMAGE_TEXT_TO_IMAGE if colours else TEXT_TO_IMAGE
    return make_task(prompt, id=id, task=task, model=spec, options=given | options, images=images)


def two_people(name):
    """Two requests of different prompts, seeds and numbers of steps; edits if the model only edits."""
    colours = () if TEXT_TO_IMAGE in PRESETS[name].tasks else ("red",)
    return [request(name, "one", SHORT, *colours), request(name, "other", LONG, *colours, seed=2, steps=4)]


def paint(engine, tasks):
    """Pixels by task."""
    for task in tasks:
        engine.add_task(task)
    painted, done = {}, 0
    while done < len(tasks):
        for event in engine.step():
            done += isinstance(event, TaskDone)
            if isinstance(event, ImageReady):
                pixels = numpy.frombuffer(event.image.pixels, numpy.uint8).astype(int)
                painted[event.task_id] = pixels.reshape(event.image.height, event.image.width, 3)
    return painted


def assert_as_alone(engine, tasks, painted, levels=1):
    for task in tasks:
        alone = generate_alone(engine._pipelines[""], task).pixels.astype(int)
        assert alone.std() > 5
        assert numpy.abs(painted[task.id] - alone).max() <= levels, task.id


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


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize("name", ["qwen-image-2-1", "qwen-image-edit-2511"])
def test_processors_are_loaded_without_torchvision(folder_of, name):
    processors = load_processors({"processor": ["transformers", index_class(folder_of(name))]}, folder_of(name))
    prepared = processors["processor"](
        text=["<|image_pad|> a fox"], images=[Image.new("RGB", (64, 64), "red")], return_tensors="pt"
    )

    assert prepared["pixel_values"].isfinite().all()
    assert prepared["image_grid_thw"].prod() == len(prepared["pixel_values"])
    assert processors["processor"].chat_template == TEMPLATE


def test_a_processor_saved_in_one_file_is_loaded_too(folder_of, tmp_path):
    """As Transformers 5 saves them."""
    shutil.copytree(folder_of("qwen-image-2-1") / "processor", tmp_path / "processor")
    alone = tmp_path / "processor" / "preprocessor_config.json"
    settings = json.loads(alone.read_text()) | {"patch_size": 8}
    alone.unlink()
    (tmp_path / "processor" / "processor_config.json").write_text(
        json.dumps({"image_processor": settings, "processor_class": "Qwen3VLProcessor"})
    )

    processor = load_processors({"processor": ["transformers", "Qwen3VLProcessor"]}, tmp_path)["processor"]
    assert (processor.image_processor.patch_size, processor.chat_template) == (8, TEMPLATE)


def index_class(folder):
    return json.loads((folder / "model_index.json").read_text())["processor"][1]


def test_the_language_model_that_rewrites_prompts_is_not_loaded(engines):
    assert engines("ernie-image-turbo")._pipelines[""].pe is None


def test_settings_of_the_scheduler_replace_those_of_the_repo(folder_of):
    wanted = PRESETS["qwen-image-edit-2511"].scheduler

    spec = spec_of("qwen-image-edit-2511", folder_of("qwen-image-edit-2511"))
    config = load_pipeline(spec, folder_of("qwen-image-edit-2511"), "cpu").scheduler.config
    assert {key: config[key] for key in wanted} == wanted
    with pytest.raises(ModelUnavailable, match="has no setting colour"):
        load_pipeline(replace(spec, scheduler={"colour": 1.0}), folder_of("qwen-image-edit-2511"), "cpu")


# ---------------------------------------------------------------- few-step LoRAs


@pytest.mark.parametrize("name", WITH_LORA)
def test_a_preset_with_a_few_step_lora_paints_for_two_people(name, tmp_path):
    folder = WITH_LORA[name](tmp_path / "model")
    plain = load_pipeline(spec_of(name, folder, variant=""), folder, "cpu")
    (tmp_path / "lora").mkdir()
    lora = save_lora(plain, tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    engine = DiffusionEngine(replace(spec_of(name, folder, variant=""), loras=(str(lora.parent),)))
    engine.load_model("cpu")
    spec = PRESETS[name]
    options = {"sampler": spec.sampler, "guidance_scale": spec.guidance_scale}
    tasks = [request(name, "one", SHORT, **options), request(name, "other", "a blue cat", seed=2, **options)]

    painted = paint(engine, tasks)

    fused = engine._pipelines[""]
    for task in tasks:
        pixels, unlike = (paint_alone(pipeline, task) for pipeline in (fused, plain))
        assert numpy.abs(painted[task.id] - pixels).max() <= 1
        assert numpy.abs(pixels - unlike).max() > 1
    engine.unload_model()


def paint_alone(pipeline, task):
    """With the task's sampler."""
    pipeline.scheduler = Samplers(pipeline.scheduler).create_scheduler(task.options["sampler"])
    return generate(pipeline, task, task.options["seed"], lambda *_: None)[0].astype(int)


@pytest.mark.parametrize("name", ["qwen-image-2-1", "qwen-image-edit-2511"])
def test_the_lora_of_a_preset_is_found_in_its_repo_and_fused(folder_of, name, tmp_path, monkeypatch):
    (lora,) = PRESETS[name].loras
    repo, file = split_repo_file(lora)
    monkeypatch.setattr(resolve, "cached_repo_path", lambda *asked: {(repo, "", name): tmp_path}[asked])
    spec = spec_of(name, folder_of(name))
    layer = load_pipeline(spec, folder_of(name), "cpu").transformer.transformer_blocks[0].attn.to_q
    rows, width = layer.weight.shape
    key = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{key}.lora_A.weight": torch.ones(2, width), f"{key}.lora_B.weight": torch.ones(rows, 2)}
    save_file(tensors, tmp_path / (file or "pytorch_lora_weights.safetensors"))
    (tmp_path / "another.safetensors").write_bytes(b"")

    fused = load_pipeline(replace(spec, loras=(lora,)), folder_of(name), "cpu")

    changed = fused.transformer.transformer_blocks[0].attn.to_q.weight
    assert torch.allclose(changed, layer.weight + 2.0, atol=1e-5)


def test_a_lora_that_its_repo_lacks_is_named(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(resolve, "cached_repo_path", lambda *_: tmp_path)
    spec = replace(spec_of("ernie-image-turbo", folder_of("ernie-image-turbo")), loras=("org/fast/four.safetensors",))

    with pytest.raises(ModelUnavailable, match=r"org/fast/four\.safetensors is not in the cache"):
        load_pipeline(spec, folder_of("ernie-image-turbo"), "cpu")
