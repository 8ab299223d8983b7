"""Identifying folders and files by their configs and headers; and selecting the files of a repo."""

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import DownloadFailed, ModelRefused
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING
from bot.ports import RepoRef
from inference.checkpoints import identify
from inference.checkpoints.file_filter import is_safe_path, select_files, variant_of
from tests.inference.tiny import save_blip, save_classifier, save_diffusion, save_editor


@pytest.mark.parametrize(
    ("save", "kind", "tasks"),
    [
        (save_diffusion, "diffusers", (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)),
        (save_editor, "diffusers", ("image-text-to-image",)),
        (save_blip, "blip2", (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)),
        (save_classifier, "classifier", ()),
    ],
)
def test_folders_are_identified(tmp_path, save, kind, tasks):
    save(tmp_path)

    info = identify.identify_path(tmp_path)

    assert (info.kind, info.tasks, info.variant) == (kind, tasks, "")
    assert info.size_mb >= 1


def save_tensors(path, **tensors):
    save_file({name: torch.zeros(*shape) for name, shape in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    ("tensors", "kind", "family"),
    [
        ({"lora_unet_mid_attn2_to_k.lora_down.weight": (4, 768)}, "lora", "sd15"),
        ({"unet.mid.attn2.to_k.lora_A.weight": (4, 2048)}, "lora", "sdxl"),
        ({"lora_te2_x.lora_up.weight": (4, 4)}, "lora", "sdxl"),
        ({"emb_params": (2, 768)}, "inversion", "sd15"),
        ({"<cat-toy>": (768,)}, "inversion", "sd15"),
        ({"cat-toy": (4, 1024)}, "inversion", "sd21"),
        ({"weights": (320, 768)}, "unknown", ""),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "inversion", "sdxl"),
        (
            {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)},
            "single-file", "sd15",
        ),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
                "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (3840, 1280),
            },
            "single-file", "sdxl",
        ),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3),
                "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            },
            "unknown", "sd15",
        ),
        (
            {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)},
            "unknown", "sd21",
        ),
        ({"something.else": (3, 3)}, "unknown", ""),
    ],
)  # fmt: skip
def test_files_are_identified_by_their_tensors(tmp_path, tensors, kind, family):
    info = identify.identify_path(save_tensors(tmp_path / "x.safetensors", **tensors))

    assert (info.kind, info.family) == (kind, family)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def pointer(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def overwrite(path):
    path.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("damage", [truncate, pointer, overwrite])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = save_tensors(tmp_path / "x.safetensors", a=(3, 3))
    damage(path)

    with pytest.raises(ModelRefused):
        identify.identify_path(path)


def test_files_that_could_run_code_are_refused(tmp_path):
    save_diffusion(tmp_path / "sd")
    (tmp_path / "sd" / "unet" / "modeling.py").write_text("print()")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "x.ckpt").write_bytes(b"x")

    for name in ("sd", "pickled", "x.ckpt"):
        with pytest.raises(ModelRefused):
            identify.identify_path(tmp_path / name)


def test_an_index_that_is_not_json_or_too_large_is_refused(tmp_path):
    index = tmp_path / "model_index.json"
    for text in ("{", " " * (9 * 2**20)):
        index.write_text(text)
        with pytest.raises(ModelRefused):
            identify.identify_path(tmp_path)


def test_an_untested_class_can_be_a_pipeline():
    assert identify.identify_class("SomethingPipeline").tasks == (TEXT_TO_IMAGE,)
    assert identify.identify_class("GPT2LMHeadModel").kind == "unknown"


# ---------------------------------------------------------------- selecting files

INDEX = {"_class_name": "X", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"], "safety_checker": [None, None]}
REPO = [
    "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json", "safety_checker/model.safetensors",
    "checkpoint.safetensors", "README.md", "image.png", "../evil.safetensors", "unet/../../evil.json",
]  # fmt: skip


def select(variant="", index=INDEX, paths=REPO):
    return select_files(RepoRef(repo="org/x", variant=variant), paths, index)


def test_the_components_of_a_pipeline_are_selected_in_the_variant_or_else_plain():
    selection = select("fp16")

    assert "unet/diffusion_pytorch_model.fp16.safetensors" in selection.paths
    assert "vae/diffusion_pytorch_model.safetensors" in selection.paths
    assert "unet/diffusion_pytorch_model.safetensors" not in selection.paths
    assert selection.variant == "fp16"
    assert not {"checkpoint.safetensors", "safety_checker/model.safetensors", "README.md"} & set(selection.paths)
    assert not [path for path in selection.paths if "evil" in path]
    assert selection.rejected == ("unet/diffusion_pytorch_model.bin",)


def test_plain_weights_are_selected_by_default_and_a_variant_where_there_are_no_others():
    assert select().variant == ""
    halves = [path for path in REPO if "fp16" in path or not path.endswith(".safetensors")]
    assert select(paths=halves).variant == "fp16"


def test_shards_come_with_their_index_and_no_others():
    paths = [
        "config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
        "tokenizer.json", "training_args.bin",
    ]  # fmt: skip

    selection = select(index=None, paths=paths)

    assert set(selection.paths) == {
        "config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "tokenizer.json",
    }  # fmt: skip


def test_variant_shards_come_with_the_index_of_their_variant():
    paths = [
        "config.json", "model.safetensors.index.fp16.json", "model.safetensors.index.json",
        "model.fp16-00001-of-00001.safetensors", "model-00001-of-00001.safetensors",
    ]  # fmt: skip

    assert set(select("fp16", None, paths).paths) == {
        "config.json", "model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors",
    }  # fmt: skip


def test_a_lora_is_one_file():
    assert select(index=None, paths=["a.safetensors", "pytorch_lora_weights.safetensors"]).paths == (
        "pytorch_lora_weights.safetensors",
    )
    with pytest.raises(DownloadFailed) as failed:
        select(index=None, paths=["a.safetensors", "b.safetensors"])
    assert failed.value.problem == "which_file"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\\b", "C:/x", ""])
def test_paths_that_leave_their_folder_are_not_safe(path):
    assert not is_safe_path(path)


def test_file_names_contain_the_variant():
    assert [variant_of(name) for name in ("model.safetensors", "a/model.fp16.safetensors")] == ["", "fp16"]
    assert variant_of("model.fp16-00001-of-00002.safetensors") == "fp16"
