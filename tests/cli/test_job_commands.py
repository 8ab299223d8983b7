"""One-shot commands, in this process and through a running server: the same output."""

import errno
import io
import json
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bot.errors import StartupError
from tests.cli.app_fixture import MODELS, serving
from tests.web.fake_pool import picture

MODES = pytest.mark.parametrize("mode", ["local", "server"])


@contextmanager
def server_if(mode, data_dir):
    with serving(data_dir) if mode == "server" else nullcontext():
        yield


def size_of(path):
    with Image.open(path) as opened:
        return opened.size


@MODES
def test_a_prompt_becomes_a_file_whose_path_alone_is_on_stdout(mode, call, data_dir, folder):
    with server_if(mode, data_dir):
        result = call("imagine", "a red circle", "--seed", "7", "--steps", "2")

    assert result.code == 0, result.err
    path = folder / result.out.strip()
    assert path.name.startswith("easel-")
    assert path.name.endswith("-1.png")
    assert size_of(path) == (64, 64)
    assert "Traceback" not in result.err


@MODES
def test_several_images_are_several_lines(mode, call, data_dir, folder):
    with server_if(mode, data_dir):
        result = call("imagine", "a red circle", "--count", "3", "--out", "circle.png")

    assert result.out.split() == ["circle-1.png", "circle-2.png", "circle-3.png"]
    assert sorted(path.name for path in folder.iterdir()) == result.out.split()


@MODES
def test_json_is_the_job_with_its_files(mode, call, data_dir):
    with server_if(mode, data_dir):
        result = call("imagine", "a red circle", "--seed", "7", "--negative", "dark", "--json")

    job = json.loads(result.out)
    assert job["state"] == "delivered"
    assert job["options"]["negative_prompt"] == "dark"
    assert job["result"]["seed"] == 7
    assert job["created_at"].endswith("Z")
    assert [Path(file).exists() for file in job["files"]] == [True]


@MODES
def test_a_question_about_a_file_is_answered_on_stdout(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("ask", str(fox), "what is this?")

    assert (result.code, result.out) == (0, "It is what is this?\n")


@MODES
def test_a_caption_takes_its_picture_from_stdin(mode, call, data_dir, fox, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(fox.read_bytes())))
    with server_if(mode, data_dir):
        result = call("caption", "-")

    assert (result.code, result.out) == (0, "It is a picture\n")


@MODES
def test_a_picture_is_described_line_by_line(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("describe", str(fox), "--count", "2")

    assert (result.code, result.out) == (0, "prompt 1\nprompt 2\n")


@MODES
def test_several_texts_are_matched_with_a_picture(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("match", str(fox), "a cat in the snow", "a dog", "--json")

    job = json.loads(result.out)
    assert job["options"]["texts"] == "a cat in the snow | a dog"
    assert job["result"]["text"] == "50 % a cat in the snow\n50 % a dog"


@MODES
@pytest.mark.parametrize("prompt", [(), ("a fox",)])
def test_an_image_is_upscaled_with_or_without_a_prompt(mode, call, data_dir, fox, prompt):
    with server_if(mode, data_dir):
        result = call("upscale", str(fox), *prompt, "--json")

    job = json.loads(result.out)
    with Image.open(job["files"][0]) as larger, Image.open(fox) as small:
        assert larger.width == 2 * small.width
    assert job["options"]["prompt"] == "".join(prompt)


@MODES
def test_an_edit_is_refused_without_a_model_that_supports_instructions(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("edit", str(fox), "make it blue")

    assert result.code == 2
    assert "can't edit pictures here yet" in result.err


@MODES
def test_a_picture_can_start_from_another(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("imagine", "a star", "--image", str(fox), "--strength", "0.5", "--json")

    job = json.loads(result.out)
    assert job["options"]["strength"] == 0.5
    assert len(job["images"]) == 1


@MODES
def test_a_mask_is_passed_with_its_role(mode, call, data_dir, fox):
    with server_if(mode, data_dir):
        result = call("imagine", "a star", "--image", str(fox), "--mask", str(fox), "--json")

    assert [image["role"] for image in json.loads(result.out)["images"]] == ["init", "mask"]


def test_a_mask_without_a_picture_is_bad_usage(call, fox):
    result = call("imagine", "a star", "--mask", str(fox))

    assert result.code == 2
    assert "mask only works with an input image" in result.err


@MODES
def test_a_value_that_the_model_rejects_is_bad_usage(mode, call, data_dir):
    with server_if(mode, data_dir):
        result = call("imagine", "a star", "--size", "65x64")

    assert (result.code, result.out) == (2, "")
    assert "multiple of 8" in result.err


@MODES
@pytest.mark.parametrize("option", ["prompt", "--negative-prompt", "--style"])
def test_a_text_that_costs_much_to_read_is_bad_usage_in_one_sentence(mode, call, data_dir, option):
    marks = "\u0315" * 10_000 + "\u0323" * 10_000  # 40 KB that normalizing sorts
    with server_if(mode, data_dir):
        result = call("imagine", marks) if option == "prompt" else call("imagine", "a star", option, marks)

    assert (result.code, result.out) == (2, "")
    assert "has 20000 characters; the limit is" in result.err
    assert len(result.err) < 300


@MODES
def test_a_file_that_is_no_picture_is_bad_usage(mode, call, data_dir, folder):
    (folder / "notes.txt").write_text("no picture")
    with server_if(mode, data_dir):
        result = call("caption", "notes.txt")

    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("easel: This file is not a picture. Please send a PNG, JPEG, WebP, AVIF or GIF.\n")


@MODES
def test_a_failed_job_is_one_sentence_and_exit_code_1(mode, call, data_dir):
    with server_if(mode, data_dir):
        result = call("imagine", "fail")

    assert (result.code, result.out) == (1, "")
    assert "Something went wrong; you weren't charged." in result.err
    assert "the secret inner reason" not in result.err


@MODES
def test_a_failed_job_as_json_carries_its_error(mode, call, data_dir):
    with server_if(mode, data_dir):
        result = call("imagine", "fail", "--json")

    job = json.loads(result.out)
    assert result.code == 1
    assert (job["state"], job["error"]["code"], job["files"]) == ("failed", "engine_failed", [])


@MODES
def test_combinations_are_generated_once_confirmed(mode, call, data_dir):
    with server_if(mode, data_dir):
        refused = call("imagine", "a {red|blue} circle")
        accepted = call("imagine", "a {red|blue} circle", "--yes", "--out", "c.png")

    assert refused.code == 2
    assert "2 combinations" in refused.err
    assert accepted.out.split() == ["c-1.png", "c-2.png"]


@pytest.mark.parametrize(("typed", "code", "files"), [("y\n", 0, 2), ("n\n", 1, 0), ("", 1, 0)])
def test_combinations_are_confirmed_on_the_terminal(call, folder, monkeypatch, typed, code, files):
    answer = io.StringIO(typed)
    monkeypatch.setattr(answer, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", answer)

    result = call("imagine", "a {red|blue} circle")

    assert result.code == code
    assert "2 combinations" in result.err
    assert len(list(folder.iterdir())) == files


@MODES
def test_a_result_can_be_fetched_again_by_the_start_of_its_id(mode, call, data_dir, folder):
    with server_if(mode, data_dir):
        first = call("imagine", "a red circle")
        path = folder / first.out.strip()
        data = path.read_bytes()
        path.unlink()
        again = call("fetch", path.name.split("-")[1][:6])

    assert again.out == first.out
    assert path.read_bytes() == data


def test_progress_goes_to_stderr_in_a_few_lines(call):
    result = call("imagine", "a red circle", "--steps", "30")

    assert 1 <= len(result.err.splitlines()) <= 7
    assert "\r" not in result.err


def test_progress_on_a_terminal_is_one_line_that_changes_and_goes(call, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    result = call("imagine", "a red circle", "--steps", "30")

    changing, _, after = result.err.rpartition("\r\x1b[K")
    assert "\n" not in changing
    assert "Step " in changing
    assert "Step " not in after


def test_a_one_shot_command_runs_only_its_own_job(call, data_dir):
    with serving(data_dir):
        pass
    waiting = call("imagine", "slow", "--out", "missing/")
    result = call("imagine", "a red circle")

    assert waiting.code == 2
    assert result.code == 0


# ---------------------------------------------------------------- files


def test_nothing_is_overwritten(call, folder):
    (folder / "mine.png").write_bytes(b"mine")

    result = call("imagine", "a red circle", "--out", "mine.png")

    assert result.code == 2
    assert "mine.png already exists" in result.err
    assert (folder / "mine.png").read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_not_overwritten_and_the_image_not_lost(call, folder, monkeypatch):
    from adapters.cli import job_commands

    real = job_commands.save_image

    def late(path, data, job_id):
        path.write_bytes(b"somebody else's")
        return real(path, data, job_id)

    monkeypatch.setattr(job_commands, "save_image", late)
    result = call("imagine", "a red circle", "--out", "mine.png")

    assert result.code == 1
    assert (folder / "mine.png").read_bytes() == b"somebody else's"
    assert "`easel fetch " in result.err


def test_pictures_go_into_a_folder(call, folder):
    (folder / "pictures").mkdir()

    result = call("imagine", "a red circle", "--out", "pictures")

    assert Path(result.out.strip()).parent == Path("pictures")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("nowhere/", "The folder nowhere/ does not exist"),
        ("nowhere/fox.png", "The folder nowhere does not exist"),
        ("fox.jpg", "name the file fox.png"),
    ],
)
def test_an_invalid_output_path_is_refused_before_anything_is_generated(call, out, sentence):
    result = call("imagine", "a red circle", "--out", out)

    assert (result.code, result.out) == (2, "")
    assert sentence in result.err


def test_a_full_disk_explains_how_to_get_the_image_again(call, folder, monkeypatch):
    from adapters.cli import image_files

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_files, "open", full, raising=False)
    result = call("imagine", "a red circle")
    monkeypatch.undo()

    assert result.code == 1
    assert "no space left on device" in result.err
    job_id = result.err.split("`easel fetch ")[1].split()[0]
    assert len(job_id) == 16


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.png", "missing.png does not exist."),
        ("empty.png", "The file is empty. Please send the picture again."),
        ("large.png", "The picture is too large: at most 10 MiB, or 20 in HEIC."),
        ("a\0b", "cannot be read"),
    ],
)
def test_an_unreadable_image_is_one_sentence(call, folder, name, sentence):
    (folder / "empty.png").touch()
    with open(folder / "large.png", "wb") as large:
        large.truncate(10 * 2**20 + 1)

    result = call("caption", name)

    assert (result.code, result.out) == (2, "")
    assert sentence in result.err


def test_the_same_picture_fetched_twice_is_the_same_file(call, folder):
    first = call("imagine", "a red circle")

    again = call("fetch", first.out.split("-")[1])

    assert again.code == 0
    assert len(list(folder.iterdir())) == 1


def test_an_unknown_job_cannot_be_fetched(call):
    result = call("fetch", "aaaaaaaa")

    assert (result.code, result.out) == (1, "")
    assert result.err == "easel: You have no job called aaaaaaaa.\n"


# ---------------------------------------------------------------- failures


def test_a_startup_error_is_one_sentence(call, composition):
    composition.failures["open_application"] = StartupError("The database is damaged.")

    result = call("imagine", "a red circle")

    assert (result.code, result.err) == (1, "easel: The database is damaged.\n")


def test_a_bug_is_an_incident_in_the_log_and_never_a_traceback(call, composition, data_dir):
    composition.failures["open_application"] = RuntimeError("inner reason")

    result = call("imagine", "a red circle")

    assert result.code == 1
    assert "inner reason" not in result.err
    incident = result.err.split("code ")[1][:8]
    log = (data_dir / "logs" / "commands.log").read_text()
    assert incident in log
    assert "inner reason" in log


def test_an_exception_group_is_reported_by_its_first_easel_error(call, composition):
    group = BaseExceptionGroup("tasks", [RuntimeError("x"), StartupError("Port 8000 is taken.")])
    composition.failures["serve"] = group

    result = call("serve")

    assert result.code == 1
    assert "easel: Port 8000 is taken." in result.err


def test_the_written_file_has_the_stored_bytes(call, folder):
    result = call("imagine", "a red circle", "--seed", "5")

    assert (folder / result.out.strip()).read_bytes() == picture(5, 64, 64)


def test_the_demo_hint_comes_with_images_and_not_under_each_answer(call, fox, monkeypatch):
    demos = tuple(replace(spec, demo=True) for spec in MODELS)
    monkeypatch.setattr("tests.cli.app_fixture.MODELS", demos)

    made, answered = call("imagine", "a red circle"), call("ask", str(fox), "what is it?")

    assert made.err.count("Demo model") == 1
    assert (answered.code, "Demo model" in answered.err) == (0, False)
