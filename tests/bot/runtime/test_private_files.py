"""The runtime directory and the lock file: of this user's own, and never through a link."""

import os
import stat
import tempfile

import pytest

from bot.errors import StartupError
from bot.runtime.lock import DataLock, read_holder
from bot.runtime.private_files import runtime_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty runtime directory and an empty temporary directory."""
    runtime, temporary = tmp_path / "runtime", tmp_path / "tmp"
    runtime.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return runtime, temporary


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_runtime_directory_of_the_session_is_used(places):
    assert runtime_folder() == places[0] / "easel"
    assert mode(runtime_folder()) == 0o700


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
def test_without_one_it_is_a_private_folder_of_the_user(places, monkeypatch, value):
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    folder = runtime_folder()

    assert folder == places[1] / f"easel-{os.getuid()}"
    assert mode(folder) == 0o700


def test_an_existing_folder_with_a_wider_mode_is_made_private(places):
    (places[0] / "easel").mkdir()
    (places[0] / "easel").chmod(0o777)

    assert mode(runtime_folder()) == 0o700


def test_a_link_in_its_place_is_not_followed(places, tmp_path):
    target = tmp_path / "of-somebody-else"
    target.mkdir()
    (places[0] / "easel").symlink_to(target)

    with pytest.raises(PermissionError, match="not a folder of this user"):
        runtime_folder()
    assert list(target.iterdir()) == []


def test_a_folder_of_another_user_is_not_used(places, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    with pytest.raises(PermissionError, match="not a folder of this user"):
        runtime_folder()


def test_the_lock_does_not_follow_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    victim.chmod(0o644)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "easel.lock").symlink_to(victim)

    with pytest.raises(StartupError, match="is a link, which Easel does not follow"):
        DataLock(tmp_path / "data").acquire()
    assert read_holder(tmp_path / "data") is None
    assert (victim.read_text(), mode(victim)) == ("theirs", 0o644)
