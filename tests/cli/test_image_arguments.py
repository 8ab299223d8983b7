"""`--control`, `--reference`, `--style-of`, `--subject-of`: files and jobs, in this process and through a server."""

import json
import sys

import pytest

from bot.commands import COMMANDS
from tests.cli.test_job_commands import MODES, server_if


def images_of(result):
    assert result.code == 0, result.err
    return json.loads(result.out)["images"]


@MODES
def test_a_control_and_a_reference_are_passed_with_what_is_said_about_them(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        control, style = (f"canny:{fox}:0.8:0:0.5:ready", f"{fox}:0.6")
        control_of_job, style_of_job = images_of(
            call("imagine", "a castle", "--control", control, "--style-of", style, "--json")
        )

    assert control_of_job == {
        "id": style_of_job["id"],
        "role": "control",
        "kind": "canny",
        "weight": 0.8,
        "start": 0,
        "end": 0.5,
        "ready": True,
    }
    assert (style_of_job["role"], style_of_job["kind"], style_of_job["weight"]) == ("reference", "style", 0.6)


@MODES
def test_a_picture_of_an_earlier_job_is_named_by_its_id(mode, call, data_dir):
    with server_if(mode, data_dir):
        first = json.loads(call("imagine", "a fox", "--count", "2", "--json").out)
        [style] = images_of(call("imagine", "a castle", "--style-of", f"{first['id'][:8].upper()}/2:0.5", "--json"))

    assert (style["id"], style["weight"]) == (first["result"]["media"][1]["id"], 0.5)


def test_a_file_whose_name_looks_like_a_job_or_has_colons_is_a_file(call, folder, fox):
    names = ("k3x7", "a:0.5") if sys.platform != "win32" else ("k3x7",)
    for name in names:
        (folder / name).write_bytes(fox.read_bytes())

        [style] = images_of(call("imagine", "a castle", "--style-of", name, "--json"))

        assert style["weight"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--control", "canny:missing.png"), "missing.png does not exist."),
        (("--control", "cany:FOX"), "kind cannot be “cany”. Did you mean canny?"),
        (("--control", "FOX"), "kind cannot be "),
        (("--control", "canny"), "--control needs an image file, or a job of yours."),
        (("--control", "canny:FOX:abc"), "weight is \u201cabc\u201d, but must be a number."),
        (("--control", "canny:FOX:nan"), "weight is nan, but must be 0 to 2."),
        (("--control", "canny:FOX:1e400"), "weight is inf, but must be 0 to 2."),
        (("--control", "canny:FOX:1:0.5:0.5"), "A control that starts at 0.5 must end after that, but its end is 0.5."),
        (("--control", "canny:FOX", "--control", "canny:FOX"), "canny was given twice; give it once."),
        (("--style-of", "FOX:3"), "weight is 3, but must be 0 to 2."),
        (("--style-of", ""), "--style-of needs an image file, or a job of yours."),
    ],
)
def test_a_bad_value_is_one_sentence_and_bad_usage(call, fox, arguments, sentence):
    result = call("imagine", "a castle", *(one.replace("FOX", str(fox)) for one in arguments))

    assert (result.code, result.out) == (2, "")
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_a_job_that_is_not_there_or_has_no_picture_is_one_sentence(call, fox):
    caption = json.loads(call("caption", str(fox), "--json").out)["id"]

    assert "You have no job called k3x7." in call("imagine", "a castle", "--style-of", "k3x7").err
    assert f"Job {caption} has no pictures." in call("imagine", "a castle", "--style-of", caption).err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_command_line_that_names_its_images(call, name):
    kind = COMMANDS[name]
    shown = call(name, "--help").out

    assert ("--control KIND:FILE|JOB" in shown) == ("control" in kind.roles)
    assert ("--style-of FILE|JOB[:WEIGHT]" in shown) == ("reference" in kind.roles[1:])
    assert ("IMAGE" in shown) == bool(kind.images_needed)
    assert "picture" not in shown


def test_a_preview_is_a_ready_control_of_its_kind(call, fox):
    preview = json.loads(call("preview", str(fox), "canny", "--json").out)["id"]
    [control] = images_of(call("imagine", "a castle", "--control", f"canny:{preview}:0.5", "--json"))
    refused = call("imagine", "a castle", "--control", f"depth:{preview}")

    assert (control["kind"], control["ready"], control["weight"]) == ("canny", True, 0.5)
    assert "That picture is a canny map: use it with --control canny." in refused.err
    assert refused.code == 2
