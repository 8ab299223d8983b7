"""A control that is added like a model: the answer says which models it fits and what to write for it."""

import pytest

from bot.error_texts import explain
from bot.model_install.installer import required_repos
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, ControlSource
from bot.ports import CheckpointInfo
from bot.usecases.control_advice import control_kind, control_refusal
from tests.fakes import make_model

XL = make_model(name="xl", tasks=(TEXT_TO_IMAGE,), capabilities={"family": "sdxl"})
SD = make_model(name="sd", tasks=(TEXT_TO_IMAGE,), capabilities={"family": "sd15"})
NEW = make_model(name="new", tasks=(TEXT_TO_IMAGE,))
BLIP = make_model(name="blip", tasks=(IMAGE_TO_TEXT,))


def test_the_answer_names_the_models_that_it_fits_and_the_line_to_write():
    info = CheckpointInfo(kind="control", class_name="ControlNetModel", family="sdxl")
    sentence = explain(control_refusal("org/sdxl-canny", info, [SD, XL, NEW, BLIP]))

    assert '[models.xl.controls] canny = "org/sdxl-canny"' in sentence
    assert "ControlNet for sdxl" in sentence
    assert "xl, new" in sentence


def test_a_file_of_a_repo_is_named():
    info = CheckpointInfo(kind="control", class_name="IPAdapter", family="sdxl")
    sentence = explain(control_refusal("org/ip", info, [XL], "sdxl/ip.safetensors"))

    assert 'style = { repo = "org/ip", file = "sdxl/ip.safetensors" }' in sentence


def test_it_says_so_where_it_fits_no_model():
    info = CheckpointInfo(kind="control", class_name="T2IAdapter", family="sdxl")

    assert "fits no model" in explain(control_refusal("org/a", info, [SD, BLIP]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("org/t2i-adapter-sketch-sdxl", "scribble"), ("a/openpose.safetensors", "pose"), ("org/x", "KIND")],
)
def test_the_kind_comes_from_the_name(name, kind):
    assert control_kind(name, CheckpointInfo(kind="control", class_name="ControlNetModel")) == kind


def test_a_models_controls_are_downloaded_with_it_once_each():
    union = ControlSource(repo="org/union", file="promax.safetensors")
    controls = {"canny": union, "depth": union, "pose": "org/pose", "tile": "models/own"}
    repos = required_repos(make_model(name="xl", tasks=(TEXT_TO_IMAGE,), repo="org/xl", controls=controls))

    assert [(ref.repo, ref.file) for ref in repos] == [
        ("org/xl", ""),
        ("org/union", "promax.safetensors"),
        ("org/pose", ""),
    ]
