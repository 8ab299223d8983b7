"""`caption FOLDER --write-sidecars`: a text file beside each image, and going on where it stopped."""

import json
from pathlib import Path

import pytest

from adapters.cli import sidecars
from adapters.cli.error_output import Failure
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture


@pytest.fixture
def photos(folder: Path) -> Path:
    path = folder / "photos"
    path.mkdir()
    for number, name in enumerate(("a.png", "b.jpg", "c.png")):
        (path / name).write_bytes(picture(number, 16, 16, "JPEG" if name.endswith("jpg") else "PNG"))
    return path


def texts_in(folder):
    return {path.name: path.read_text() for path in sorted(folder.glob("*.txt"))}


def test_each_image_gets_a_text_file_and_the_captions_are_printed(call, photos, data_dir):
    with serving(data_dir):
        result = call("caption", "photos", "--write-sidecars")

    assert result.code == 0
    assert result.out.splitlines() == [f"photos/{name}: It is a picture" for name in ("a.png", "b.jpg", "c.png")]
    assert texts_in(photos) == dict.fromkeys(("a.txt", "b.txt", "c.txt"), "It is a picture\n")
    assert not list(photos.glob("*.part"))


def test_the_same_command_again_describes_only_what_is_left(call, photos):
    (photos / "b.txt").write_text("my own words")

    first = call("caption", "photos", "--write-sidecars", "--json")
    again = call("caption", "photos", "--write-sidecars", "--json")

    lines = [json.loads(line) for line in first.out.splitlines()]
    assert [line["files"] for line in lines] == [["photos/a.txt"], ["photos/c.txt"]]
    assert "1 image had a text file already." in first.err
    assert (again.code, again.out) == (0, "")
    assert "3 images had a text file already." in again.err
    assert texts_in(photos)["b.txt"] == "my own words"


def test_a_single_image_gets_one_too(call, photos):
    result = call("caption", "photos/a.png", "--write-sidecars")

    assert (result.code, texts_in(photos)) == (0, {"a.txt": "It is a picture\n"})


def test_a_folder_that_cannot_be_written_is_a_sentence_and_the_captions_are_shown(call, photos, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sidecars.tempfile, "NamedTemporaryFile", refuse)

    result = call("caption", "photos", "--write-sidecars")

    assert result.code == 1
    assert "photos/a.txt could not be written: permission denied." in result.err
    assert "photos/a.png: It is a picture" in result.out
    assert texts_in(photos) == {}


def test_a_text_file_that_appeared_meanwhile_is_kept(photos):
    (photos / "a.txt").write_text("mine")

    with pytest.raises(Failure, match="already exists"):
        sidecars.write_sidecar(str(photos / "a.png"), "a caption")

    assert (texts_in(photos), list(photos.glob("*.part"))) == ({"a.txt": "mine"}, [])


def test_standard_input_has_no_place_for_a_text_file():
    with pytest.raises(Failure, match="standard input"):
        sidecars.write_sidecar("-", "a caption")
