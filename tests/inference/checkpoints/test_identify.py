"""Identifying folders and files by their configs and headers; and selecting the files of a repo."""

import re
import shutil
import struct

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import DownloadFailed, ModelRefused
from bot.models import (
    DEPTH_ESTIMATION,
    IMAGE_SEGMENTATION,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    KEYPOINT_DETECTION,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
)
from bot.ports import RepoRef
from inference.checkpoints import identify
from inference.checkpoints.file_filter import (
    class_name_of,
    is_safe_path,
    parse_json_object,
    select_files,
    variant_of,
)
from inference.diffusion.loader import load_pipeline
from tests.inference.map_models import save_depth_anything, save_dpt, save_pose
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_classifier, save_diffusion, save_editor


@pytest.mark.parametrize(
    ("save", "kind", "tasks"),
    [
        (save_diffusion, "diffusers", (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)),
        (save_editor, "diffusers", ("image-text-to-image",)),
        (save_blip, "blip2", (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)),
        (save_classifier, "classifier", ()),
        (save_depth_anything, "map", (DEPTH_ESTIMATION,)),
        (save_dpt, "map", (DEPTH_ESTIMATION,)),
        (save_pose, "map", (KEYPOINT_DETECTION,)),
    ],
)
def test_folders_are_identified(tmp_path, save, kind, tasks):
    save(tmp_path)

    info = identify.identify_path(tmp_path)

    assert (info.kind, info.tasks, info.variant) == (kind, tasks, "")
    assert info.size_mb >= 1


@pytest.mark.parametrize(
    ("class_name", "family", "detector"),
    [
        ("CLIPSegForImageSegmentation", "clipseg", ""),
        ("GroundingDinoForObjectDetection", "grounding-dino", ""),
        ("Sam2VideoModel", "sam2", "IDEA-Research/grounding-dino-tiny"),
        ("Sam3LiteTextModel", "sam3", ""),
    ],
)
def test_models_that_make_masks_of_texts_are_identified(class_name, family, detector):
    info = identify.identify_class(class_name)

    assert (info.kind, info.family, info.tasks) == ("segmenter", family, (IMAGE_SEGMENTATION,))
    assert info.defaults.get("detector", "") == detector


def save_tensors(path, **tensors):
    save_file({name: torch.zeros(*shape) for name, shape in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    ("tensors", "kind", "family"),
    [
        (
            {"unet.mid_block.attn2.to_k.lora_A.weight": (4, 2048), "unet.mid_block.attn2.to_k.lora_B.weight": (8, 4)},
            "lora", "sdxl",
        ),
        ({"emb_params": (2, 192)}, "inversion", "starter"),
        ({"emb_params": (2, 768)}, "inversion", "sd15"),
        ({"<cat-toy>": (768,)}, "inversion", "sd15"),
        ({"cat-toy": (4, 1024)}, "inversion", "sd21"),
        ({"weights": (320, 768)}, "unknown", ""),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "inversion", "sdxl"),
        (
            {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
             "cond_stage_model.x": (1,), "first_stage_model.x": (1,)},
            "single-file", "sd15",
        ),
        (
            {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)},
            "unknown", "sd15",
        ),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
                "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (3840, 1280),
                "first_stage_model.x": (1,),
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


def save_header(path, header: bytes, data: bytes = bytes(4)):
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def one_tensor(shape: str = "[1]", offsets: str = "[0,4]", dtype: str = '"F32"') -> bytes:
    return f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'.encode()


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b"\xef\xbb\xbf" + one_tensor(),
        one_tensor().decode().encode("utf-16"),
        b"[]",
        b'{"a":[]}',
        b'{"a":{}}',
        one_tensor("[1e999]"),
        one_tensor("[-1,-1]"),
        one_tensor("[1.5]"),
        one_tensor("[true]"),
        one_tensor('["1"]'),
        one_tensor("[[1]]"),
        one_tensor("7"),
        one_tensor("[768]"),
        one_tensor("[9223372036854775807,9223372036854775807]"),
        one_tensor(f"[{'9' * 5000}]"),
        one_tensor(offsets="[0,1e999]"),
        one_tensor(offsets="[4,0]"),
        one_tensor(offsets="[-4,4]"),
        one_tensor(offsets="[0]"),
        one_tensor(offsets="{}"),
        one_tensor(offsets="[4,8]"),
        one_tensor("[2]", offsets="[0,8]"),
        one_tensor("[0]", offsets="[0,0]"),
        one_tensor("[7]", dtype='{"deep":[]}', offsets="[1,4]"),
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_a_header_that_no_program_writes_is_refused_in_one_sentence(tmp_path, header):
    with pytest.raises(ModelRefused) as refused:
        identify.identify_path(save_header(tmp_path / "emb.safetensors", header))

    assert refused.value.problem == "damaged"
    assert re.fullmatch(r"it [^\n]{5,80}", refused.value.detail)


@pytest.mark.parametrize(
    "header",
    [one_tensor(), one_tensor("[2,2]", dtype='"U8"'), one_tensor("[8]", dtype='"F4"'), one_tensor(dtype='"NEW"')],
)
def test_a_header_of_any_number_format_is_read(tmp_path, header):
    assert identify.identify_path(save_header(tmp_path / "x.safetensors", header)).kind == "unknown"


@pytest.mark.parametrize("name", ["model_index.json", "config.json", "unet/config.json", "scheduler/a_config.json"])
@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b'\xef\xbb\xbf{"_class_name": "StableDiffusionPipeline"}', "byte order mark"),
        (b"[" * 200_000, "not readable JSON"),
        (b'{"a":' * 50_000, "not readable JSON"),
        ("{}".encode("utf-16"), "not readable JSON"),
        (b"[]", "not readable JSON"),
    ],
)
def test_a_config_that_libraries_cannot_read_is_refused_by_name(tmp_path, name, text, detail):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for part in ("unet", "scheduler"):
        (tmp_path / part).mkdir()
    save_tensors(tmp_path / "unet" / "model.safetensors", a=(3, 3))
    (tmp_path / name).write_bytes(text)

    with pytest.raises(ModelRefused) as refused:
        identify.identify_path(tmp_path)

    assert detail in refused.value.detail
    assert refused.value.model.endswith(name)


def test_a_class_name_is_a_name():
    assert class_name_of({"_class_name": "x" * 1000}, None) == ""
    assert class_name_of({"_class_name": "A\nB"}, None) == ""
    assert class_name_of(None, {"architectures": [[[]]]}) == ""
    assert parse_json_object("[" * 200_000) is None


def add_variants(folder, **variants):
    """Rename each component's weights to these variants; "": plain."""
    for component, names in variants.items():
        (path,) = (folder / component).glob("*.safetensors")
        for variant in filter(None, names):
            shutil.copy(path, path.with_name(f"{path.stem}.{variant}.safetensors"))
        if "" not in names:
            path.unlink()


@pytest.mark.parametrize(
    ("unet", "text_encoder", "variant"),
    [
        (["fp16"], ["fp16"], "fp16"),
        (["fp16"], [""], "fp16"),
        (["", "fp16"], ["fp16"], "fp16"),
        (["bf16", "fp16"], ["bf16"], "bf16"),
        (["", "fp16"], ["", "fp16"], ""),
    ],
)
def test_a_folder_of_plain_parts_and_variants_is_identified_so_that_it_loads(tmp_path, unet, text_encoder, variant):
    add_variants(save_diffusion(tmp_path), unet=unet, text_encoder=text_encoder)
    save_tensors(tmp_path / "whole-checkpoint.safetensors", a=(3, 3))

    info = identify.identify_path(tmp_path)

    assert info.variant == variant
    model = make_model(repo=str(tmp_path), tasks=info.tasks, variant=info.variant, dtype="float32")
    assert load_pipeline(model, tmp_path, "cpu").unet is not None


def test_a_folder_whose_parts_have_no_variant_in_common_is_refused(tmp_path):
    add_variants(save_diffusion(tmp_path), unet=["fp16"], text_encoder=["bf16"])

    with pytest.raises(ModelRefused, match="unet: fp16") as refused:
        identify.identify_path(tmp_path)

    assert "text_encoder: bf16" in refused.value.detail


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


def test_a_lora_of_peft_comes_with_its_configuration():
    paths = ["README.md", "adapter_config.json", "adapter_model.safetensors"]

    assert set(select(index=None, paths=paths).paths) == set(paths[1:])


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


def test_all_components_of_a_repo_are_selected_in_one_variant():
    both = "unet/diffusion_pytorch_model.bf16.safetensors"
    paths = [path for path in REPO if path != "unet/diffusion_pytorch_model.safetensors"]
    only_fp16 = [path.replace("vae/diffusion_pytorch_model", "vae/diffusion_pytorch_model.fp16") for path in paths]

    selection = select(paths=[*only_fp16, both])

    assert selection.variant == "fp16"
    assert [variant_of(path) for path in selection.paths if path.endswith(".safetensors")] == ["fp16", "fp16"]


def test_what_a_pipeline_does_not_use_and_settings_that_are_lists_are_no_components():
    """ERNIE-Image's index also names a model that rewrites prompts; Krea 2's has a list of layers."""
    index = {
        "_class_name": "ErnieImagePipeline",
        "pe": ["transformers", "Ministral3ForCausalLM"],
        "pe_tokenizer": ["transformers", "TokenizersBackend"],
        "text_encoder_select_layers": [2, 5, 8],
        "transformer": ["diffusers", "ErnieImageTransformer2DModel"],
    }
    paths = ["model_index.json", "pe/model.safetensors", "pe/config.json", "pe_tokenizer/tokenizer.json"]
    wanted = ["transformer/config.json", "transformer/diffusion_pytorch_model.safetensors"]

    assert select(index=index, paths=[*paths, *wanted]).paths == ("model_index.json", *wanted)
