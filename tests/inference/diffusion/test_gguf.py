"""Denoisers in `.gguf` files: recognised, loaded offline with their base model, shared by people, or refused."""

import shutil
from unittest.mock import Mock

import numpy
import pytest
import torch
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from safetensors.torch import load_file

from bot.errors import ModelUnavailable
from bot.model_install.gguf_header import read_gguf_header
from bot.ports import TaskAddon
from inference.checkpoints.identify import identify_path
from inference.checkpoints.resolve import model_path
from inference.diffusion import gguf_file, single_file
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.gguf_file import read_tensors
from inference.diffusion.loader import load_pipeline
from inference.diffusion.single_file import load_single_file
from inference.memory.planner import memory_needs
from inference.memory.quantization import read_weight
from tests.backends_required import require_backend
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.diffusion.test_mixed_features import save_transformer_lora
from tests.inference.families import save_klein, save_z_image
from tests.inference.gguf_files import header_bytes, write_gguf
from tests.inference.recent_families import save_ernie, save_krea2, save_qwen_edit, save_qwen_image_21
from tests.inference.recent_presets import paint
from tests.inference.single import UNET, make_layouts, save_single
from tests.inference.stream import generate_alone
from tests.inference.support import make_model, make_task

require_backend("gguf")
import gguf  # noqa: E402 - only where it is installed

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
FAMILIES = ("z-image", "sd15")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By family: the `.gguf` file and the folder of its base model, which has no weights of the denoiser."""
    folder = tmp_path_factory.mktemp("gguf")
    return {"z-image": save_quantized_z_image(folder), "sd15": save_quantized_sd15(folder)}


def save_quantized_z_image(folder):
    base = save_z_image(folder / "z")
    (weights,) = (base / "transformer").glob("*.safetensors")
    original = {}
    for name, tensor in load_file(weights).items():
        name = name.replace("all_final_layer.2-1.", "final_layer.").replace("all_x_embedder.2-1.", "x_embedder.")
        name = name.replace(".attention.norm_k.", ".attention.k_norm.").replace(
            ".attention.norm_q.", ".attention.q_norm."
        )
        original[name.replace(".attention.to_out.0.", ".attention.out.")] = tensor
    for name in [name for name in original if name.endswith(".to_q.weight")]:
        parts = [original.pop(name.replace("to_q", part)) for part in ("to_q", "to_k", "to_v")]
        original[name.replace("to_q", "qkv")] = torch.cat(parts)
    weights.unlink()
    return write_gguf(folder / "z.gguf", original, architecture="lumina2"), base


def save_quantized_sd15(folder):
    layouts = make_layouts(folder / "layouts")
    save_single(folder / "whole.safetensors", layouts, "sd15")
    shipped, single_file.LAYOUTS = single_file.LAYOUTS, layouts
    single_file._bpe_vocabulary.cache_clear()
    try:
        pipeline = load_single_file(make_model(), folder / "whole.safetensors", torch.float32)
    finally:
        single_file.LAYOUTS = shipped
        single_file._bpe_vocabulary.cache_clear()
    pipeline.save_pretrained(folder / "sd")
    for weights in (folder / "sd" / "unet").glob("*.safetensors"):
        weights.unlink()
    whole = load_file(folder / "whole.safetensors")
    tensors = {name.removeprefix(UNET): tensor for name, tensor in whole.items() if name.startswith(UNET)}
    return write_gguf(folder / "sd.gguf", tensors, architecture="sd1"), folder / "sd"


def model_of(models, family, **settings):
    path, base = models[family]
    said = {"repo": str(path), "base_model": str(base), "dtype": "float32"}
    return make_model(family, **(said | settings))


def request(id, prompt, seed, model, **options):
    size = {"width": 32, "height": 32, "guidance_scale": 0.0 if model.name == "z-image" else 3.0, "sampler": ""}
    return make_task(prompt, id=id, model=model, options={"seed": seed, "negative_prompt": "", **size, **options})


@pytest.mark.parametrize("family", FAMILIES)
def test_two_people_share_passes_of_a_quantized_denoiser(models, family):
    model = model_of(models, family)
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    tasks = [request("one", "a red fox", 1, model), request("other", "a blue cat , a fox", 2, model, steps=4)]

    painted = paint(engine, tasks)

    pipeline = engine._pipelines[""]
    assert any(type(one).__name__ == "GGUFLinear" for one in pipeline.components[engine._denoiser].modules())
    for task in tasks:
        alone = generate_alone(pipeline, task).pixels.astype(int)
        assert alone.std() > 3
        assert numpy.abs(painted[task.id] - alone).max() <= 1
    assert numpy.abs(painted["one"] - painted["other"]).max() > 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_of_a_prompt_is_computed_on_a_quantized_denoiser(models, family, tmp_path):
    model = model_of(models, family)
    engine = DiffusionEngine(model)
    engine.load_model("cpu")
    pipeline, path = engine._pipelines[""], tmp_path / "ink.safetensors"
    save_lora(pipeline, path) if family == "sd15" else save_transformer_lora(pipeline.transformer, path)
    plain, styled = request("plain", "a fox", 1, model), request("styled", "a fox <lora:ink:1>", 1, model)
    styled = type(styled)(**{**vars(styled), "addons": (TaskAddon("ink", "lora", str(path)),)})

    painted = paint(engine, [plain, styled])

    assert numpy.abs(painted["plain"] - painted["styled"]).max() > 3
    assert numpy.abs(paint(engine, [plain])["plain"] - painted["plain"]).max() <= 1


def test_everything_but_the_matrices_of_linear_layers_becomes_plain(models):
    model = model_of(models, "z-image", dtype="bfloat16")
    transformer = load_pipeline(model, models["z-image"][0], "cpu").transformer

    plain = [one for one in transformer.parameters() if type(one) is torch.nn.Parameter]
    assert all(one.dtype == torch.bfloat16 for one in plain)
    assert any(one.ndim == 1 for one in plain)
    assert transformer.dtype == torch.bfloat16


def test_the_memory_plan_counts_what_is_in_the_file(models):
    path, _ = models["z-image"]
    needs = memory_needs(model_of(models, "z-image"), path, torch.float32, has_accelerator=True)

    assert {part.name for part in needs.components} == {"transformer", "text_encoder", "vae"}
    (denoiser,) = (part for part in needs.components if part.name == "transformer")
    assert denoiser.size_mb == -(-path.stat().st_size // 2**20)
    assert not any(denoiser.has_format(one) for one in ("8bit", "fp8", "4bit"))


OTHERS = {
    save_klein: "Flux2KleinPipeline",
    save_krea2: "Krea2Pipeline",
    save_qwen_image_21: "QwenImage21Pipeline",
    save_qwen_edit: "QwenImageEditPlusPipeline",
    save_ernie: "ErnieImagePipeline",
}


@pytest.mark.parametrize("save", OTHERS)
def test_the_other_families_are_loaded_from_files_with_diffusers_names(tmp_path, save):
    base = save(tmp_path / "base")
    (weights,) = (base / "transformer").glob("*.safetensors")
    expected = load_file(weights)
    is_editor = save is save_qwen_edit
    path = write_gguf(tmp_path / ("edit.gguf" if is_editor else "a.gguf"), expected)
    tasks = ("image-text-to-image",) if is_editor else ("text-to-image",)

    assert identify_path(path).class_name == OTHERS[save]
    model = make_model(repo=str(path), base_model=str(base), dtype="float32", tasks=tasks)
    transformer = load_pipeline(model, path, "cpu").transformer

    for name, tensor in expected.items():
        module, _, parameter = name.rpartition(".")
        layer = transformer.get_submodule(module)
        found = read_weight(layer) if parameter == "weight" else getattr(layer, parameter)
        assert (found.float() - tensor).norm() <= 0.02 * tensor.norm(), name


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q8_0"])
def test_weights_are_those_that_the_library_reads(tmp_path, kind):
    path = write_gguf(tmp_path / "a.gguf", {"a.weight": torch.randn(8, 64), "a.bias": torch.randn(8)}, kind)
    expected = load_gguf_checkpoint(str(path))

    found = read_tensors(path, read_gguf_header(path))

    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert type(found[name]) is type(tensor)
        assert getattr(found[name], "quant_type", None) == getattr(tensor, "quant_type", None)
        assert torch.equal(torch.Tensor(found[name]), torch.Tensor(tensor))


def test_the_header_is_read_within_limits_alone(models, monkeypatch):
    monkeypatch.setattr(gguf.GGUFReader, "__init__", lambda *_: pytest.fail("read by the library"))

    assert load_pipeline(model_of(models, "z-image"), models["z-image"][0], "cpu").transformer is not None


def test_what_is_in_the_file_is_said_of_the_model(models):
    engine = DiffusionEngine(model_of(models, "sd15"))
    engine.load_model("cpu")

    assert engine.capabilities["weights"] == ["GGUF Q8_0"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_link_into_a_hubs_cache_is_loaded(models, family, tmp_path):
    path, base = models[family]
    blob, link = tmp_path / ("b" * 64), tmp_path / "quant.gguf"
    blob.write_bytes(path.read_bytes())
    link.symlink_to(blob)
    model = model_of(models, family, repo=str(link), base_model=str(base))

    assert model_path(model) == link
    assert memory_needs(model, model_path(model), torch.float32, has_accelerator=False).components


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("error", [IndexError("no such block"), AttributeError("shape"), AssertionError()])
def test_weights_that_the_libraries_cannot_convert_are_refused(models, monkeypatch, error):
    monkeypatch.setattr(gguf_file, "_load", Mock(side_effect=error))

    with pytest.raises(ModelUnavailable, match="does not fit"):
        load_pipeline(model_of(models, "z-image"), models["z-image"][0], "cpu")


def test_a_lack_of_memory_is_no_fault_of_the_file(models, monkeypatch):
    monkeypatch.setattr(gguf_file, "_load", Mock(side_effect=RuntimeError("can't allocate memory")))

    with pytest.raises(RuntimeError, match="allocate"):
        load_pipeline(model_of(models, "z-image"), models["z-image"][0], "cpu")


def test_a_base_model_of_another_family_is_refused(models, tmp_path):
    model = model_of(models, "z-image", base_model=str(save_klein(tmp_path / "klein")))

    with pytest.raises(ModelUnavailable, match=r"is not of its base_model .*, a Flux2KleinPipeline"):
        load_pipeline(model, models["z-image"][0], "cpu")


def test_a_file_without_some_weights_is_refused(models, tmp_path):
    tensors = {"layers.0.adaLN_modulation.0.weight": torch.zeros(128, 32)}
    path = write_gguf(tmp_path / "part.gguf", tensors)

    with pytest.raises(ModelUnavailable, match=r"part.gguf (lacks weights|does not fit)"):
        load_pipeline(model_of(models, "z-image", repo=str(path)), path, "cpu")


def test_damaged_and_unknown_files_are_refused_when_they_are_loaded(models, tmp_path):
    damaged, unknown, gone = (tmp_path / name for name in ("damaged.gguf", "unknown.gguf", "gone.gguf"))
    damaged.write_bytes(models["z-image"][0].read_bytes()[:-100])
    unknown.write_bytes(header_bytes({"blk.0.attn_q.weight": [32, 32]}, "llama"))

    for path, words in ((damaged, "truncated"), (unknown, "architecture llama"), (gone, "cannot be read")):
        with pytest.raises(ModelUnavailable, match=words):
            load_pipeline(model_of(models, "z-image", repo=str(path)), path, "cpu")


def test_fused_loras_and_a_missing_base_model_are_refused(models):
    path = models["z-image"][0]

    with pytest.raises(ModelUnavailable, match="name them in prompts"):
        load_pipeline(model_of(models, "z-image", loras=("org/ink",)), path, "cpu")
    with pytest.raises(ModelUnavailable, match="lacks base_model"):
        load_pipeline(model_of(models, "z-image", base_model=""), path, "cpu")


def test_a_base_model_in_half_precision_only_is_loaded_too(models, tmp_path):
    path, base = models["sd15"]
    copy = shutil.copytree(base, tmp_path / "half")
    for weights in list(copy.glob("*/*.safetensors")):
        weights.rename(weights.with_suffix(".fp16.safetensors"))

    assert load_pipeline(model_of(models, "sd15", base_model=str(copy)), path, "cpu").unet is not None
