"""One-shot commands, without a server and through one: the same words, the same answers."""

import errno
import io
import json
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from PIL import Image

from bot.errors import StartupError
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture

WAYS = pytest.mark.parametrize("way", ["alone", "through a server"])


@contextmanager
def house(way, data_dir):
    with serving(data_dir) if way == "through a server" else nullcontext():
        yield


def size_of(path):
    with Image.open(path) as opened:
        return opened.size


@WAYS
def test_a_prompt_becomes_a_file_whose_path_alone_is_on_stdout(way, call, data_dir, folder):
    with house(way, data_dir):
        said = call("imagine", "a red circle", "--seed", "7", "--steps", "2")

    assert said.code == 0, said.err
    path = folder / said.out.strip()
    assert path.name.startswith("easel-")
    assert path.name.endswith("-1.png")
    assert size_of(path) == (64, 64)
    assert "Traceback" not in said.err


@WAYS
def test_several_pictures_are_several_lines(way, call, data_dir, folder):
    with house(way, data_dir):
        said = call("imagine", "a red circle", "--count", "3", "--out", "circle.png")

    assert said.out.split() == ["circle-1.png", "circle-2.png", "circle-3.png"]
    assert sorted(path.name for path in folder.iterdir()) == said.out.split()


@WAYS
def test_json_is_the_job_with_its_files(way, call, data_dir):
    with house(way, data_dir):
        said = call("imagine", "a red circle", "--seed", "7", "--negative", "dark", "--json")

    job = json.loads(said.out)
    assert job["state"] == "delivered"
    assert job["options"]["negative_prompt"] == "dark"
    assert job["result"]["seed"] == 7
    assert job["created_at"].endswith("Z")
    assert [Path(file).exists() for file in job["files"]] == [True]


@WAYS
def test_a_question_about_a_file_is_answered_on_stdout(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("ask", str(fox), "what is this?")

    assert (said.code, said.out) == (0, "It is what is this?\n")


@WAYS
def test_a_caption_takes_its_picture_from_stdin(way, call, data_dir, fox, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(fox.read_bytes())))
    with house(way, data_dir):
        said = call("caption", "-")

    assert (said.code, said.out) == (0, "It is a picture\n")


@WAYS
def test_a_picture_is_described_line_by_line(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("describe", str(fox), "--count", "2")

    assert (said.code, said.out) == (0, "prompt 1\nprompt 2\n")


@WAYS
def test_several_texts_are_matched_with_a_picture(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("match", str(fox), "a cat in the snow", "a dog", "--json")

    job = json.loads(said.out)
    assert job["options"]["texts"] == "a cat in the snow | a dog"
    assert job["result"]["text"] == "50 % a cat in the snow\n50 % a dog"


@WAYS
@pytest.mark.parametrize("prompt", [(), ("a fox",)])
def test_a_picture_is_made_larger_with_or_without_words(way, call, data_dir, fox, prompt):
    with house(way, data_dir):
        said = call("upscale", str(fox), *prompt, "--json")

    job = json.loads(said.out)
    with Image.open(job["files"][0]) as larger, Image.open(fox) as small:
        assert larger.width == 2 * small.width
    assert job["options"]["prompt"] == "".join(prompt)


@WAYS
def test_an_edit_is_refused_where_no_model_takes_instructions(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("edit", str(fox), "make it blue")

    assert said.code == 2
    assert "No model here can do \u201cedit\u201d" in said.err


@WAYS
def test_a_picture_can_start_from_another(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("imagine", "a star", "--image", str(fox), "--strength", "0.5", "--json")

    job = json.loads(said.out)
    assert job["options"]["strength"] == 0.5
    assert len(job["images"]) == 1


@WAYS
def test_a_mask_says_what_of_a_picture_is_made_anew(way, call, data_dir, fox):
    with house(way, data_dir):
        said = call("imagine", "a star", "--image", str(fox), "--mask", str(fox), "--json")

    assert [image["role"] for image in json.loads(said.out)["images"]] == ["init", "mask"]


def test_a_mask_without_a_picture_is_bad_usage(call, fox):
    said = call("imagine", "a star", "--mask", str(fox))

    assert said.code == 2
    assert "a picture to start from" in said.err


@WAYS
def test_what_the_model_refuses_is_bad_usage(way, call, data_dir):
    with house(way, data_dir):
        said = call("imagine", "a star", "--size", "65x64")

    assert (said.code, said.out) == (2, "")
    assert "multiple of 8" in said.err


@WAYS
def test_a_file_that_is_no_picture_is_bad_usage(way, call, data_dir, folder):
    (folder / "notes.txt").write_text("no picture")
    with house(way, data_dir):
        said = call("caption", "notes.txt")

    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("easel: This file is not a picture. Please send a PNG, JPEG, WebP or GIF.\n")


@WAYS
def test_a_job_that_fails_is_told_in_a_sentence_and_fails(way, call, data_dir):
    with house(way, data_dir):
        said = call("imagine", "fail")

    assert (said.code, said.out) == (1, "")
    assert "Making this failed" in said.err
    assert "the secret inner reason" not in said.err


@WAYS
def test_a_failed_job_as_json_carries_its_error(way, call, data_dir):
    with house(way, data_dir):
        said = call("imagine", "fail", "--json")

    job = json.loads(said.out)
    assert said.code == 1
    assert (job["state"], job["error"]["code"], job["files"]) == ("failed", "engine_failed", [])


@WAYS
def test_combinations_are_made_once_they_are_confirmed(way, call, data_dir):
    with house(way, data_dir):
        refused = call("imagine", "a {red|blue} circle")
        made = call("imagine", "a {red|blue} circle", "--yes", "--out", "c.png")

    assert refused.code == 2
    assert "2 combinations" in refused.err
    assert made.out.split() == ["c-1.png", "c-2.png"]


@pytest.mark.parametrize(("typed", "code", "files"), [("y\n", 0, 2), ("n\n", 1, 0), ("", 1, 0)])
def test_a_person_at_the_terminal_is_asked_before_combinations_are_made(call, folder, monkeypatch, typed, code, files):
    answer = io.StringIO(typed)
    monkeypatch.setattr(answer, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", answer)

    said = call("imagine", "a {red|blue} circle")

    assert said.code == code
    assert "2 combinations" in said.err
    assert len(list(folder.iterdir())) == files


@WAYS
def test_a_result_can_be_fetched_again_by_the_start_of_its_id(way, call, data_dir, folder):
    with house(way, data_dir):
        first = call("imagine", "a red circle")
        path = folder / first.out.strip()
        data = path.read_bytes()
        path.unlink()
        again = call("fetch", path.name.split("-")[1][:6])

    assert again.out == first.out
    assert path.read_bytes() == data


def test_progress_goes_to_stderr_in_a_few_lines(call):
    said = call("imagine", "a red circle", "--steps", "30")

    assert 1 <= len(said.err.splitlines()) <= 5
    assert "\r" not in said.err


def test_progress_on_a_terminal_is_one_line_that_changes_and_goes(call, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    said = call("imagine", "a red circle", "--steps", "30")

    changing, _, after = said.err.rpartition("\r\x1b[K")
    assert "\n" not in changing
    assert "Step " in changing
    assert "Step " not in after


def test_a_one_shot_command_runs_only_its_own_job(call, data_dir):
    with serving(data_dir):
        pass
    waiting = call("imagine", "slow", "--out", "missing/")
    said = call("imagine", "a red circle")

    assert waiting.code == 2
    assert said.code == 0


# ---------------------------------------------------------------- files


def test_nothing_is_overwritten(call, folder):
    (folder / "mine.png").write_bytes(b"mine")

    said = call("imagine", "a red circle", "--out", "mine.png")

    assert said.code == 2
    assert "mine.png is there already" in said.err
    assert (folder / "mine.png").read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_left_alone_and_the_picture_kept(call, folder, monkeypatch):
    from adapters.cli import job_commands

    real = job_commands.save

    def late(path, data, job_id):
        path.write_bytes(b"somebody else's")
        return real(path, data, job_id)

    monkeypatch.setattr(job_commands, "save", late)
    said = call("imagine", "a red circle", "--out", "mine.png")

    assert said.code == 1
    assert (folder / "mine.png").read_bytes() == b"somebody else's"
    assert "`easel fetch " in said.err


def test_pictures_go_into_a_folder(call, folder):
    (folder / "pictures").mkdir()

    said = call("imagine", "a red circle", "--out", "pictures")

    assert Path(said.out.strip()).parent == Path("pictures")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("nowhere/", "There is no folder nowhere/"),
        ("nowhere/fox.png", "There is no folder nowhere"),
        ("fox.jpg", "call the file fox.png"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_made(call, out, sentence):
    said = call("imagine", "a red circle", "--out", out)

    assert (said.code, said.out) == (2, "")
    assert sentence in said.err


def test_a_full_disk_says_how_to_get_the_picture_again(call, folder, monkeypatch):
    from adapters.cli import image_files

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_files, "open", full, raising=False)
    said = call("imagine", "a red circle")
    monkeypatch.undo()

    assert said.code == 1
    assert "no space left on device" in said.err
    job_id = said.err.split("`easel fetch ")[1].split()[0]
    assert len(job_id) == 16


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.png", "There is no file missing.png."),
        (".", ". is a folder: name a picture in it."),
        ("empty.png", "The file is empty. Please send the picture again."),
        ("large.png", "The picture is too large: at most 10 MiB."),
        ("a\0b", "cannot be read"),
    ],
)
def test_a_picture_that_cannot_be_read_is_told_in_a_sentence(call, folder, name, sentence):
    (folder / "empty.png").touch()
    with open(folder / "large.png", "wb") as large:
        large.truncate(10 * 2**20 + 1)

    said = call("caption", name)

    assert (said.code, said.out) == (2, "")
    assert sentence in said.err


def test_the_same_picture_fetched_twice_is_the_same_file(call, folder):
    made = call("imagine", "a red circle")

    again = call("fetch", made.out.split("-")[1])

    assert again.code == 0
    assert len(list(folder.iterdir())) == 1


def test_an_unknown_job_cannot_be_fetched(call):
    said = call("fetch", "aaaaaaaa")

    assert (said.code, said.out) == (1, "")
    assert said.err == "easel: You have no job called aaaaaaaa.\n"


# ---------------------------------------------------------------- the house


def test_a_house_that_cannot_open_says_why(call, composition):
    composition.failures["open_application"] = StartupError("The database is damaged.")

    said = call("imagine", "a red circle")

    assert (said.code, said.err) == (1, "easel: The database is damaged.\n")


def test_a_bug_is_an_incident_in_the_log_and_never_a_traceback(call, composition, data_dir):
    composition.failures["open_application"] = RuntimeError("inner reason")

    said = call("imagine", "a red circle")

    assert said.code == 1
    assert "inner reason" not in said.err
    incident = said.err.split("code ")[1][:8]
    log = (data_dir / "logs" / "commands.log").read_text()
    assert incident in log
    assert "inner reason" in log


def test_errors_of_a_group_are_told_like_the_first_of_ours(call, composition):
    group = BaseExceptionGroup("tasks", [RuntimeError("x"), StartupError("Port 8000 is taken.")])
    composition.failures["serve"] = group

    said = call("serve")

    assert said.code == 1
    assert "easel: Port 8000 is taken." in said.err


def test_picture_bytes_are_those_of_the_house(call, folder):
    said = call("imagine", "a red circle", "--seed", "5")

    assert (folder / said.out.strip()).read_bytes() == picture(5, 64, 64)
