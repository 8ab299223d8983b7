"""Which files of an IP-Adapter's repo are downloaded."""

import pytest

from bot.ports import RepoRef
from inference.checkpoints.file_filter import select_files

ENCODER = ["image_encoder/config.json", "image_encoder/model.safetensors", "image_encoder/pytorch_model.bin"]
PUBLISHED = [
    *("README.md", "models/ip-adapter_sd15.bin", "models/ip-adapter_sd15.safetensors"),
    *("sdxl_models/ip-adapter_sdxl.safetensors", "sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors"),
    *(f"models/{path}" for path in ENCODER),
    *(f"sdxl_models/{path}" for path in ENCODER),
]


@pytest.mark.parametrize(
    ("file", "encoder"),
    [
        ("models/ip-adapter_sd15.safetensors", "models"),
        ("sdxl_models/ip-adapter_sdxl.safetensors", "sdxl_models"),
        ("sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors", "models"),
    ],
)
def test_an_adapter_is_downloaded_with_its_image_encoder(file, encoder):
    selection = select_files(RepoRef(repo="org/x", file=file), PUBLISHED, None)

    assert selection.paths == (
        file,
        f"{encoder}/image_encoder/config.json",
        f"{encoder}/image_encoder/model.safetensors",
    )


@pytest.mark.parametrize("file", ["", "adapter.safetensors"])
@pytest.mark.parametrize("encoder", [[], ENCODER])
def test_a_repo_with_one_adapter_may_have_an_encoder(file, encoder):
    selection = select_files(RepoRef(repo="org/x", file=file), ["adapter.safetensors", *encoder], None)

    assert selection.paths == ("adapter.safetensors", *encoder[:2])
