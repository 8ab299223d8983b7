"""What trainings are given to read: copies of the owner's folder with corrections, and images without captions."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.errors import TooLarge, TrainingRefused, UnsupportedMedia
from bot.models import IMAGE_TO_TEXT, ModelRegistry
from bot.usecases import training_folders
from bot.usecases.training_captions import TrainingCaptions
from bot.usecases.training_folders import fill_folder, list_uncaptioned
from tests.bot.usecases.training_env import correction
from tests.fakes import make_model

LINE = {"file_name": "deep/1.tif", "question": "what is it?", "answer": "a cat"}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "1.tif").write_bytes(b"picture")
    (folder / "notes.md").write_bytes(b"no example")
    return folder


def fill(source, data=b"\x89PNG"):
    target = source.parent / "examples"
    files = fill_folder(target, str(source), [(correction(1), data)])
    text = (target / "metadata.jsonl").read_text("utf-8")
    return target, files, [json.loads(line) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_corrections_follow_the_owners_last_line_whatever_its_end(source, end):
    (source / "metadata.jsonl").write_text(json.dumps(LINE) + end, encoding="utf-8", newline="")
    _, _, lines = fill(source)

    assert [line["file_name"] for line in lines] == ["deep/1.tif", "correction-correction1.png"]


def test_images_in_folders_of_the_folder_are_copied_and_links_and_the_rest_are_not(source, tmp_path):
    (source / "metadata.jsonl").write_text(json.dumps(LINE) + "\n", encoding="utf-8")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "linked").symlink_to(tmp_path)

    target, files, _ = fill(source)

    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"deep/1.tif", "metadata.jsonl", "corrections.json", *files}


def test_a_withdrawal_finds_the_copies_of_a_folder_that_was_not_finished(source, monkeypatch):
    def fail(*_args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(TrainingRefused) as refused:
        fill(source)

    listed = json.loads((source.parent / "examples" / "corrections.json").read_text())
    assert (refused.value.problem, list(listed.values())) == ("disk_full", ["correction1"])


def test_a_folder_with_too_many_files_is_refused_before_they_are_copied(source, monkeypatch):
    monkeypatch.setattr(training_folders, "MAX_IMAGES", 1)
    for number in range(4):
        (source / f"{number}.png").write_bytes(b"picture")

    for work in (lambda: fill(source), lambda: list_uncaptioned(source)):
        with pytest.raises(TrainingRefused) as refused:
            work()
        assert refused.value.problem == "many_examples"
    assert not (source.parent / "examples").exists()


def test_a_folder_that_is_gone_is_a_sentence(tmp_path):
    with pytest.raises(TrainingRefused) as refused:
        list_uncaptioned(tmp_path / "gone")

    assert refused.value.problem == "no_folder"


@pytest.mark.parametrize(
    ("error", "problem"),
    [(TooLarge(limit=16, unit="megapixels"), "large"), (UnsupportedMedia("damaged"), "broken")],
)
async def test_a_photo_that_is_too_large_to_be_captioned_is_not_called_broken(tmp_path, error, problem):
    async def refuse(_data, *, owner):
        raise error

    (tmp_path / "1.png").write_bytes(b"picture")
    captions = TrainingCaptions(
        models=ModelRegistry({"sees": make_model(name="sees", tasks=(IMAGE_TO_TEXT,))}), pool=SimpleNamespace(),
        image_processor=SimpleNamespace(sanitize=refuse),
    )  # fmt: skip
    with pytest.raises(TrainingRefused) as refused:
        await captions.caption_images(tmp_path, "a zorp", make_model(), lambda *_: None)

    assert refused.value.problem == problem
