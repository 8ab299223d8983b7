"""Adopting another program's folder of models, with real files of tiny tensors; and files from Civitai."""

import json
import os
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from bot.errors import ModelRefused
from bot.model_install.addon_files import read_adapter_config
from bot.model_install.owner_config import ModelConfigFile
from bot.models import ModelRegistry
from bot.usecases import ModelCatalogue, model_scan
from bot.usecases.model_scan import scan_folder
from inference.checkpoints.library import ModelLibrary
from tests.inference.gguf_files import header_bytes
from tests.model_manager_fixture import CIVITAI, FakeHub

UNUSED: Any = None
UNET = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
LORA = {f"{UNET}.lora_down.weight": (1, 768), f"{UNET}.lora_up.weight": (2, 1)}
OFT = {f"{UNET}.oft_blocks": (1, 2, 2)}
INVERSION = {"emb_params": (1, 768)}
GGUF = {"layers.0.adaLN_modulation.0.weight": (128, 32)}
LLAMA = {"blk.0.attn_q.weight": (32, 32)}
VAE = {"decoder.conv_in.weight": (1, 1)}
DENOISER = {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (80, 768)}
WHOLE = {**DENOISER, "cond_stage_model.x": (1,), "first_stage_model.x": (1,)}


def save(path: Path, tensors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gguf":
        path.write_bytes(header_bytes(tensors).ljust(2**20, b"\0"))
        return
    save_file({name: numpy.zeros(shape, numpy.float16) for name, shape in tensors.items()}, path)


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr("bot.memory.format_check.has_gguf", lambda: True)
    data_dir = tmp_path / "data"
    data_dir.mkdir()

    async def cancel(_name):
        pass

    return ModelCatalogue(
        files=ModelLibrary(data_dir), downloads=FakeHub(), registry=ModelRegistry({}), pool=UNUSED, store=UNUSED,
        owner_config=ModelConfigFile(data_dir, dict), wake=lambda _: None, cancel_install=cancel,
    )  # fmt: skip


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def outcomes(files) -> dict[str, tuple[str, ...]]:
    return {one.path: (one.outcome, one.kind, one.name) if one.name else (one.outcome, one.reason) for one in files}


COMFYUI = {
    "models/checkpoints/Real_Vision v5.safetensors": (WHOLE, ("adopted", "model", "real-vision-v5")),
    "models/loras/style/add_detail.safetensors": (LORA, ("adopted", "lora", "add-detail")),
    "models/loras/odd.safetensors": (OFT, ("skipped", "OFT")),
    "models/embeddings/bad_prompt.safetensors": (INVERSION, ("adopted", "inversion", "bad-prompt")),
    "models/vae/kl-f8.safetensors": (VAE, ("skipped", "VAE")),
    "models/unet/base.safetensors": (DENOISER, ("skipped", "without its text encoder and VAE")),
    "models/diffusion_models/base2.safetensors": (DENOISER, ("skipped", "without its text encoder and VAE")),
    "models/controlnet/canny.safetensors": (VAE, ("skipped", "ControlNet")),
    "models/unet/z.gguf": (GGUF, ("adopted", "model", "z")),
    "models/unet/llama.gguf": (LLAMA, ("skipped", "GGUF file of no known architecture")),
    "models/checkpoints/strange.safetensors": (VAE, ("skipped", "unknown family")),
}
A1111 = {
    "models/Stable-diffusion/dream.safetensors": (WHOLE, ("adopted", "model", "dream")),
    "models/Lora/ink.safetensors": (LORA, ("adopted", "lora", "ink")),
    "models/VAE/kl.safetensors": (VAE, ("skipped", "VAE")),
    "embeddings/easynegative.safetensors": (INVERSION, ("adopted", "inversion", "easynegative")),
}


@pytest.mark.parametrize("tree", [COMFYUI, A1111], ids=["ComfyUI", "A1111"])
async def test_a_tree_is_adopted_in_place_and_every_file_is_named(catalogue, tmp_path, tree):
    root = tmp_path / "other"
    for path, (tensors, _) in tree.items():
        save(root / path, tensors)
    before = snapshot(root)

    found = outcomes(await scan_folder(catalogue, str(root)))

    assert found.keys() == tree.keys()
    for path, (_, expected) in tree.items():
        assert found[path][0] == expected[0], path
        assert found[path] == expected if expected[0] == "adopted" else expected[1] in found[path][1], found[path]
    assert snapshot(root) == before
    assert not list((tmp_path / "data").rglob("*.safetensors"))
    for addon in catalogue.list_addons():
        assert Path(addon.path).is_relative_to(root)
    again = outcomes(await scan_folder(catalogue, str(root)))
    assert {one[0] for one in again.values()} == {"present", "skipped"}


async def test_what_was_adopted_can_be_removed_without_its_file(catalogue, tmp_path):
    save(tmp_path / "tree" / "ink.safetensors", LORA)
    await scan_folder(catalogue, str(tmp_path / "tree"))

    assert await catalogue.remove_model("ink") == 0

    assert catalogue.list_addons() == []
    assert (tmp_path / "tree" / "ink.safetensors").is_file()


async def test_an_adopted_file_that_is_gone_is_not_listed(catalogue, tmp_path):
    path = tmp_path / "tree" / "ink.safetensors"
    save(path, LORA)
    await scan_folder(catalogue, str(path.parent))

    path.unlink()

    assert catalogue.list_addons() == []


async def test_odd_files_are_named_and_links_in_a_circle_end(catalogue, tmp_path):
    root = tmp_path / "tree"
    save(root / "a" / "ink.safetensors", LORA)
    save(root / "b" / "ink.safetensors", {**LORA, "lora_te2_x.alpha": ()})
    (root / "circle").symlink_to(root)
    (root / "old.ckpt").write_bytes(bytes(2**20))
    (root / "embeddings").mkdir()
    (root / "embeddings" / "x.pt").write_bytes(b"pickle")
    (root / "broken.safetensors").write_bytes(b"no model")
    (root / "broken.bin").write_bytes(b"small")

    found = outcomes(await scan_folder(catalogue, str(root)))

    assert found["a/ink.safetensors"] == ("adopted", "lora", "ink")
    assert all("can run code" in found[path][1] for path in ("old.ckpt", "embeddings/x.pt"))
    assert found["broken.safetensors"][0] == found["b/ink.safetensors"][0] == "skipped"
    assert len(found) == 5


async def test_a_folder_in_diffusers_layout_is_one_model(catalogue, tmp_path):
    folder = tmp_path / "tree" / "models--org--fox" / "snapshots" / ("c" * 40)
    save(folder / "unet" / "diffusion_pytorch_model.safetensors", VAE)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))

    (found,) = await scan_folder(catalogue, str(tmp_path / "tree"))

    assert (found.outcome, found.name) == ("adopted", "fox")


@pytest.mark.parametrize("tensors", [LORA, WHOLE])
async def test_a_path_that_is_no_text_is_told_and_the_others_are_adopted(catalogue, tmp_path, tensors):
    root = tmp_path / "tree"
    save(root / os.fsdecode(b"caf\xe9") / "ink.safetensors", tensors)
    save(root / "z.safetensors", tensors)

    found, odd = await scan_folder(catalogue, str(root))

    assert (odd.path, odd.outcome) == ("caf?/ink.safetensors", "skipped")
    assert odd.reason == "Its path is not in UTF-8: rename it."
    assert (found.outcome, found.name) == ("adopted", "z")


@pytest.mark.parametrize("tensors", [LORA, INVERSION, WHOLE])
async def test_a_name_that_is_taken_gets_its_folder_in_front(catalogue, tmp_path, tensors):
    for folder in ("SD15", "SDXL", "b/SDXL"):
        save(tmp_path / "tree" / folder / "detail.safetensors", tensors)

    found = outcomes(await scan_folder(catalogue, str(tmp_path / "tree")))

    names = {path: outcome[2] for path, outcome in found.items() if outcome[0] == "adopted"}
    assert names == {"SD15/detail.safetensors": "detail", "SDXL/detail.safetensors": "sdxl-detail"}
    assert "already" in found["b/SDXL/detail.safetensors"][1]


async def test_an_adopted_file_that_was_moved_is_adopted_where_it_is_now(catalogue, tmp_path):
    old, new = tmp_path / "tree" / "a" / "ink.safetensors", tmp_path / "tree" / "b" / "ink.safetensors"
    save(old, LORA)
    await scan_folder(catalogue, str(tmp_path / "tree"))
    new.parent.mkdir()
    old.rename(new)

    (found,) = await scan_folder(catalogue, str(tmp_path / "tree"))

    assert (found.outcome, found.name) == ("adopted", "ink")
    assert [addon.path for addon in catalogue.list_addons()] == [str(new)]


@pytest.mark.parametrize(("name", "adopted"), [("模型", "model-c98e11"), ("a" * 200, "a" * 80)])
async def test_a_file_of_any_name_becomes_a_model(catalogue, tmp_path, name, adopted):
    save(tmp_path / "tree" / f"{name}.safetensors", WHOLE)

    (found,) = await scan_folder(catalogue, str(tmp_path / "tree"))

    assert (found.outcome, found.name) == ("adopted", adopted)


async def test_a_relative_folder_is_remembered_by_its_whole_path(catalogue, tmp_path, monkeypatch):
    save(tmp_path / "tree" / "ink.safetensors", LORA)
    monkeypatch.chdir(tmp_path)

    await scan_folder(catalogue, "tree")

    assert [addon.path for addon in catalogue.list_addons()] == [str(tmp_path / "tree" / "ink.safetensors")]


async def test_capital_endings_closed_folders_and_pipes_do_not_go_unnoticed(catalogue, tmp_path, monkeypatch):
    root = tmp_path / "tree"
    save(root / "A.SAFETENSORS", LORA)
    (root / "closed").mkdir()
    os.mkfifo(root / "pipe.safetensors")
    monkeypatch.setattr(model_scan.os, "access", lambda path, _: path.name != "closed")  # root may read everything

    found = outcomes(await scan_folder(catalogue, str(root)))

    assert found == {
        "A.SAFETENSORS": ("skipped", "Easel reads safetensors by the ending .safetensors: rename the file."),
        "closed": ("skipped", "This folder cannot be read."),
    }


@pytest.mark.parametrize("folder", ["", " ", "a\0b", "x" * 5000, "\ud800"])
async def test_a_path_that_cannot_exist_is_no_folder_with_models(catalogue, folder):
    with pytest.raises(ModelRefused) as refused:
        await scan_folder(catalogue, folder)

    assert refused.value.problem == "no_models"


async def test_a_source_that_is_no_text_is_refused(catalogue, tmp_path):
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(tmp_path / os.fsdecode(b"\xe9.safetensors")))

    assert refused.value.problem == "name_encoding"


async def test_a_name_that_is_no_text_is_refused(catalogue, tmp_path):
    save(tmp_path / "x.safetensors", LORA)

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(tmp_path / "x.safetensors"), name="ink\ud800")

    assert refused.value.problem == "name"


@pytest.mark.parametrize("name", ["missing", "empty"])
async def test_a_folder_without_models_is_told(catalogue, tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ModelRefused) as refused:
        await scan_folder(catalogue, str(tmp_path / name))

    assert refused.value.problem == "no_models"


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_FOLDERS"])
async def test_a_folder_that_is_too_large_is_told_and_nothing_is_adopted(catalogue, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(model_scan, limit, 1)
    for name in ("a", "b"):
        save(tmp_path / "tree" / name / f"{name}.safetensors", LORA)

    with pytest.raises(ModelRefused) as refused:
        await scan_folder(catalogue, str(tmp_path / "tree"))

    assert refused.value.problem == "many_models"
    assert catalogue.list_addons() == []


# ---------------------------------------------------------------- Civitai


@pytest.fixture
def downloaded(catalogue, monkeypatch):
    """What the next download contains."""
    content: dict[str, tuple[int, ...]] = {}

    async def download_civitai(file, folder):
        save(folder / f"{file.sha256}.safetensors", content)
        return folder / f"{file.sha256}.safetensors"

    monkeypatch.setattr(catalogue.downloads, "download_civitai", download_civitai)
    return content


async def test_a_lora_of_civitai_is_installed_with_its_trigger_words(catalogue, downloaded):
    downloaded |= LORA

    added = await catalogue.add_model(CIVITAI)

    assert catalogue.list_addons() == [added]
    assert (added.name, added.spellings, added.trigger_words) == ("ink-v2", ("Ink_v2",), ("ink drawing",))
    assert not list(catalogue.files.download_dir().iterdir())


async def test_a_model_of_civitai_becomes_a_preset_and_goes_with_its_file(catalogue, downloaded):
    downloaded |= WHOLE

    added = await catalogue.add_model(CIVITAI)

    assert (added.name, added.title, added.enabled) == ("ink-v2", "Ink v2", False)
    assert await catalogue.files.delete_download(Path(added.repo)) > 0
    assert not list(catalogue.files.download_dir().iterdir())


async def test_a_file_that_two_models_share_goes_with_the_last_of_them(catalogue, downloaded):
    downloaded |= WHOLE
    first, second = await catalogue.add_model(CIVITAI), await catalogue.add_model(CIVITAI, name="again")
    catalogue.registry.remove_model(second.name)
    catalogue.registry._presets.pop(second.name)

    with pytest.raises(ModelRefused):
        await catalogue.add_model(CIVITAI, name="!")

    assert [one.name for one in catalogue.files.download_dir().iterdir()] == [Path(first.repo).name]
    assert await catalogue._delete_unused_download(Path(first.repo)) == 0


@pytest.mark.parametrize("tensors", [OFT, VAE])
async def test_nothing_is_kept_of_a_file_that_is_refused(catalogue, downloaded, tensors):
    downloaded |= tensors

    with pytest.raises(ModelRefused):
        await catalogue.add_model(CIVITAI)

    assert not list(catalogue.files.download_dir().iterdir())
    assert catalogue.list_addons() == []


# ---------------------------------------------------------------- PEFT


async def test_a_folder_that_peft_saved_is_one_lora_of_its_name(catalogue, tmp_path):
    folder = tmp_path / "Ink Style"
    save(folder / "adapter_model.safetensors", LORA)
    (folder / "adapter_config.json").write_text('{"r": 1, "lora_alpha": 2}')

    added = await catalogue.add_model(str(folder))

    assert (added.name, added.kind) == ("ink-style", "lora")
    assert read_adapter_config(Path(added.path))["lora_alpha"] == 2


@pytest.mark.parametrize(("alpha", "is_refused"), [(4, False), (8, True)])
async def test_a_scale_that_diffusers_would_not_read_is_refused(catalogue, tmp_path, alpha, is_refused):
    layer = "base_model.model.layers.0.attention.to_q"
    save(
        tmp_path / "x" / "adapter_model.safetensors",
        {f"{layer}.lora_A.weight": (4, 8), f"{layer}.lora_B.weight": (8, 4)},
    )
    (tmp_path / "x" / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": alpha}))

    (found,) = await scan_folder(catalogue, str(tmp_path / "x"))

    assert (found.outcome == "skipped") == is_refused
    assert ("adapter_config.json" in found.reason) == is_refused
