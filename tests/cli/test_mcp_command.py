"""`easel mcp` in this process: which files it reads, its lines, and what it says without the library."""

import os

import pytest

from adapters.cli import mcp_command
from bot.errors import EaselError
from bot.settings.core import ImagesSettings
from tests.backends_required import require_backend
from tests.web.fake_pool import picture


def test_without_the_library_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setattr(mcp_command, "find_spec", lambda _name: None)

    result = call("mcp")

    assert result.code == 1
    assert "[mcp]" in result.err


@pytest.fixture
def read():
    require_backend("mcp")
    from adapters.cli.mcp_server import FileReader

    return FileReader(ImagesSettings())


@pytest.mark.parametrize("form", ["{path}", "file://{path}"])
def test_an_image_file_is_read_by_its_path(read, tmp_path, form):
    path = tmp_path / "a photo.PNG"
    path.write_bytes(picture(3, 8, 8))
    name = form.format(path=path if form.startswith("{") else str(path).replace(" ", "%20"))

    assert read(name) == picture(3, 8, 8)


def test_a_home_folder_is_known_by_its_sign(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(picture(3, 8, 8))

    assert read("~/a.png") == picture(3, 8, 8)


def test_other_files_are_not_even_looked_for(read, tmp_path):
    (tmp_path / "secrets.env").write_text("KEY=1")

    sentences = []
    for name in ("secrets.env", "missing.env"):
        with pytest.raises(EaselError, match="only image files") as refused:
            read(str(tmp_path / name))
        sentences.append(str(refused.value).replace(name, ""))

    assert sentences[0] == sentences[1]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_link_is_followed_to_an_image_file_only(read, tmp_path):
    (tmp_path / "secret").write_bytes(picture(3, 8, 8))
    (tmp_path / "photo.png").write_bytes(picture(3, 8, 8))
    (tmp_path / "a.png").symlink_to(tmp_path / "secret")
    (tmp_path / "b.png").symlink_to(tmp_path / "photo.png")

    with pytest.raises(EaselError, match="only image files"):
        read(str(tmp_path / "a.png"))
    assert read(str(tmp_path / "b.png")) == picture(3, 8, 8)


@pytest.mark.parametrize("name", ["photo.png", "/nowhere/photo.png", "/dev/../dev/null.png", "a\0b.png"])
def test_what_cannot_be_read_is_a_sentence(read, name):
    with pytest.raises(EaselError):
        read(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_pipe_is_no_file(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(EaselError, match="is no file"):
        read(str(tmp_path / "pipe.png"))
