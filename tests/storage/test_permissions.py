"""Files that only their owner can read, with the most permissive umask and in a directory of an earlier version."""

import os
import stat
from pathlib import Path

import pytest

from storage import StorageSettings, open_storage, restore
from tests.storage.factories import accept, make_media

SETTINGS = StorageSettings(min_free_mb=0)
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return sorted(str(path.relative_to(folder)) for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077)


async def use_everything(data_dir):
    async with open_storage(SETTINGS, data_dir) as storage:
        ann = await storage.people.identify_account("discord", "1", "Ann")
        await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters=None)
        await accept(storage, ann)
        await storage.privacy.export_person(ann.id)
        await storage.maintenance.backup(data_dir / "backups" / "copy.db")
        return open_to_others(data_dir)  # with the log and its index, which are deleted at the end


async def test_everything_that_is_written_is_private(tmp_path, open_umask):
    data_dir = tmp_path / "data"
    data_dir.mkdir(0o700)
    while_open = await use_everything(data_dir)
    restore("", data_dir, data_dir / "backups" / "copy.db", busy_timeout_ms=200)

    assert while_open == []
    assert open_to_others(data_dir) == []


async def test_a_data_directory_of_an_earlier_version_is_made_private(tmp_path, open_umask, logged):
    data_dir = tmp_path / "data"
    await use_everything(data_dir)
    for path in (data_dir, *data_dir.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (data_dir / "secrets.env").touch(0o644)
    async with open_storage(SETTINGS, data_dir):
        pass

    within_media = [name for name in open_to_others(data_dir) if name.startswith("media/")]
    assert open_to_others(data_dir) == [".", *within_media]
    [limited] = [event for event in logged if event["action"] == "access_limited"]
    assert str(data_dir / "easel.db") in limited["paths"]
    [reported] = [event for event in logged if event["action"] == "access_open"]
    assert reported["paths"] == [str(data_dir)]


async def test_a_folder_behind_a_link_is_reported(tmp_path, logged):
    data_dir, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data_dir.mkdir(0o700)
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (data_dir / "media").symlink_to(elsewhere)
    async with open_storage(SETTINGS, data_dir):
        pass

    [reported] = [event for event in logged if event["action"] == "access_open"]
    assert reported["paths"] == [str(elsewhere)]
