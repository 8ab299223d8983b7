"""`caption FOLDER --write-sidecars`: a text file beside each image, and going on where it stopped."""

import io
import json
import os
from pathlib import Path

import pytest

from adapters.cli import sidecars
from adapters.cli.error_output import Failure
from adapters.cli.file_arguments import InputFile
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture

UMASK = os.umask(0o022)
os.umask(UMASK)


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


def test_a_disk_that_cannot_be_written_is_a_sentence_and_the_captions_are_shown(call, photos, monkeypatch):
    def refuse(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sidecars, "_move_new", refuse)

    result = call("caption", "photos", "--write-sidecars")

    assert result.code == 1
    assert "photos/a.txt could not be written: no space left on device." in result.err
    assert "photos/a.png: It is a picture" in result.out
    assert (texts_in(photos), list(photos.glob(".*"))) == ({}, [])


def test_images_that_can_have_no_text_file_are_refused_before_they_are_described(call, photos, monkeypatch):
    (photos / "b.png").write_bytes((photos / "a.png").read_bytes())

    twins = call("caption", "photos", "--write-sidecars")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((photos / "a.png").read_bytes())))
    stream = call("caption", "-", "--write-sidecars")
    monkeypatch.setattr(sidecars, "_is_writable", lambda _folder: False)
    (photos / "c.txt").unlink()
    sealed = call("caption", "photos", "--write-sidecars")

    assert "photos/b.png would have the same text file as photos/b.jpg: rename one of them." in twins.err
    assert (twins.code, len(twins.out.splitlines())) == (1, 3)
    assert (stream.code, stream.out) == (2, "")
    assert "standard input" in stream.err
    assert (sealed.code, sealed.out) == (2, "")
    assert "photos/c.png cannot have a text file: its folder is not writable." in sealed.err


def test_the_same_image_twice_is_described_once(photos):
    files = [InputFile(str(photos / "a.png")), InputFile(f"{photos}/./a.png")]

    assert [file.error for file in sidecars.plan_sidecars(files)] == [None]


def test_a_file_system_without_links_and_a_name_that_is_no_utf8_have_text_files_too(photos, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sidecars.os, "link", refuse)
    odd = os.path.join(photos, os.fsdecode(b"\xff.png"))

    path = sidecars.write_sidecar(odd, "a fox")

    assert (path.read_text(), path.stat().st_mode & 0o777) == ("a fox\n", 0o666 & ~UMASK)
    with pytest.raises(Failure, match="already exists"):
        sidecars.write_sidecar(odd, "another")
    assert path.read_text() == "a fox\n"


def test_a_text_file_that_appeared_meanwhile_is_kept(photos):
    (photos / "a.txt").write_text("mine")

    with pytest.raises(Failure, match="already exists"):
        sidecars.write_sidecar(str(photos / "a.png"), "a caption")

    assert (texts_in(photos), list(photos.glob("*.part"))) == ({"a.txt": "mine"}, [])
