"""Commands for several images: files and folders in one call."""

import io
import json

import pytest

from adapters.cli.error_output import BadInput
from adapters.cli.file_arguments import expand_folders, split_arguments
from bot.commands import COMMANDS
from bot.errors import QueueFull
from bot.usecases import JobUseCases
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture


@pytest.fixture
def photos(folder):
    """A folder of three images, a text, and a file that is no image although its name says so."""
    path = folder / "photos"
    path.mkdir()
    for number, name in enumerate(("a.png", "b.PNG", "c.jpg")):
        (path / name).write_bytes(picture(number, 16, 16, "JPEG" if name.endswith("jpg") else "PNG"))
    (path / "bad.png").write_text("no image")
    (path / "notes.txt").write_text("not even a name")
    (path / ".hidden.png").write_text("a thumbnail")
    return path


def test_one_bad_file_stops_no_other_and_each_has_one_json_line_in_order(call, data_dir, photos, fox):
    with serving(data_dir):
        result = call("caption", str(fox), "photos", "missing.png", "--json")

    lines = [json.loads(line) for line in result.out.splitlines()]
    names = [line["input"] for line in lines]
    assert names == [str(fox), "photos/a.png", "photos/b.PNG", "photos/bad.png", "photos/c.jpg", "missing.png"]
    assert [line["result"] and line["result"]["text"] for line in lines] == [
        "It is a picture", "It is a picture", "It is a picture", None, "It is a picture", None,
    ]  # fmt: skip
    assert [line["error"] and line["error"]["code"] for line in lines[3:]] == [
        "unsupported_media", None, "invalid_option",
    ]  # fmt: skip
    assert result.code == 1
    assert "easel: photos/bad.png: This file is not a picture." in result.err
    assert "easel: missing.png does not exist." in result.err


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["ask", "a.png", "c.jpg", "what is this?"], ["a.png: It is what is this?", "c.jpg: It is what is this?"]),
        (["describe", "a.png", "c.jpg", "--count", "1"], ["a.png: prompt 1", "c.jpg: prompt 1"]),
        (
            ["match", "a.png", "c.jpg", "a cat", "a dog"],
            ["a.png: 50 % a cat", "a.png: 50 % a dog", "c.jpg: 50 % a cat", "c.jpg: 50 % a dog"],
        ),
        (["upscale", "a.png", "c.jpg", "a star", "--out", "big.png"], ["big-1.png", "big-2.png"]),
    ],
)
def test_every_command_for_an_image_takes_several(call, photos, monkeypatch, words, lines):
    monkeypatch.chdir(photos)

    result = call(*words)

    assert (result.code, result.out.splitlines()) == (0, lines)


def test_more_files_than_one_person_may_have_in_the_queue_wait_for_each_other(call, photos, monkeypatch):
    submit = JobUseCases.submit
    refused: list[bool] = []

    async def submit_or_refuse(self, *args, **more):
        if len(refused) == 0 and (await self.list_tickets(args[0]))[0]:
            refused.append(True)
            raise QueueFull(limit=50, retry_after_s=1)
        return await submit(self, *args, **more)

    monkeypatch.setattr(JobUseCases, "submit", submit_or_refuse)
    (photos / "bad.png").unlink()

    result = call("caption", "photos")

    assert (result.code, len(result.out.splitlines()), refused) == (0, 3, [True])


@pytest.mark.parametrize(
    ("words", "images", "texts"),
    [
        (["caption", "a.png", "b.png"], ["a.png", "b.png"], []),
        (["ask", "a.png", "-", "what is it?"], ["a.png", "-"], ["what is it?"]),
        (["match", "a", "missing.jpg", "a cat", "b.png"], ["a", "missing.jpg"], ["a cat", "b.png"]),
        (["upscale", "a.png", "b.png"], ["a.png", "b.png"], []),
        (["upscale", "a.png", "photos", "a fox"], ["a.png", "photos"], ["a fox"]),
    ],
)
def test_images_come_first_and_the_text_last(photos, words, images, texts):
    assert split_arguments(COMMANDS[words[0]], words[1:]) == (images, texts)


@pytest.mark.parametrize(
    ("words", "missing"),
    [(["ask", "a.png"], "QUESTION"), (["ask", "a.png", "b.png"], "QUESTION"), (["match", "a.png", "-"], "TEXTS...")],
)
def test_a_missing_text_is_named(words, missing):
    with pytest.raises(BadInput, match=rf"^{missing} is missing\. See `.* {words[0]} --help`\.$"):
        split_arguments(COMMANDS[words[0]], words[1:])


def test_standard_input_is_one_of_the_images(call, fox, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(fox.read_bytes())))

    result = call("caption", "-", str(fox), "-")

    assert (result.code, result.out) == (1, f"-: It is a picture\n{fox}: It is a picture\n")
    assert "easel: standard input: The file is empty." in result.err


def test_a_folder_without_images_is_one_sentence(folder, call, fox):
    (folder / "empty").mkdir()

    assert [str(one.error) for one in expand_folders(["empty"])] == ["empty has no images."]
    assert call("caption", str(fox), "empty").code == 1
