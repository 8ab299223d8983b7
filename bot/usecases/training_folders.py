"""The folders that trainings learn from: the owner's, copies of it with people's corrections. Blocking."""

import errno
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.errors import TrainingRefused
from bot.ports import Correction
from bot.runtime.private_files import make_private_folder
from bot.usecases.training_orders import TrainingOrder

METADATA = "metadata.jsonl"
EXAMPLES = "examples"
"""Of a training's work folder: copies of what it learns from, where that is not one folder of the owner's."""
CORRECTIONS = "corrections.json"
_PNG = b"\x89PNG"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def default_name(order: TrainingOrder) -> str:
    """From the folder's name."""
    name = Path(order.folder).name if order.folder else "corrections"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "adapter"


def disk_refusal(error: OSError, folder: Path) -> TrainingRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainingRefused("disk_full")
    return TrainingRefused("unwritable", folder=str(folder), detail=error.strerror or str(error))


def require_folder(path: str) -> Path:
    """Raises: TrainingRefused: it is not a folder of this machine, or cannot be read."""
    folder = Path(path).expanduser()
    if not folder.is_absolute():
        raise TrainingRefused("relative", folder=path[:200])
    try:
        if not folder.is_dir():
            raise TrainingRefused("no_folder", folder=path[:200])
        next(folder.iterdir(), None)
    except OSError as error:
        raise TrainingRefused("no_folder", folder=path[:200]) from error
    return folder.resolve()


def fill_folder(folder: Path, source: str, collected: Sequence[tuple[Correction, bytes]]) -> dict[str, str]:
    """Make a folder of the owner's examples, if there are any, and of corrections, whose ids by file name it returns.

    Raises: TrainingRefused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if source:
        _copy_images(Path(source), folder)
    return _add_corrections(folder, collected)


def _copy_images(source: Path, target: Path) -> None:
    """Its images and their descriptions. Raises: TrainingRefused: the disk is full."""
    try:
        make_private_folder(target)
        for path in sorted(source.iterdir()):
            if path.is_file() and not path.is_symlink() and path.suffix.lower() in (*IMAGE_SUFFIXES, ".txt", ".jsonl"):
                shutil.copyfile(path, target / path.name)
    except OSError as error:
        raise disk_refusal(error, target) from error


def _add_corrections(folder: Path, collected: Sequence[tuple[Correction, bytes]]) -> dict[str, str]:
    """Write each as an example; returns their ids by file name. Raises: TrainingRefused."""
    if not collected:
        raise TrainingRefused("no_corrections")
    files: dict[str, str] = {}
    lines = []
    for correction, data in collected:
        suffix = ".png" if data.startswith(_PNG) else ".jpg"
        name = f"correction-{correction.id}{suffix}"
        asked = {"question": correction.question, "answer": correction.text}
        lines.append({"file_name": name, **(asked if correction.question else {"caption": correction.text})})
        files[name] = correction.id
    try:
        make_private_folder(folder)
        for (_, data), name in zip(collected, files, strict=True):
            (folder / name).write_bytes(data)
        with (folder / METADATA).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / CORRECTIONS).write_text(json.dumps(files), encoding="utf-8")
    except OSError as error:
        raise disk_refusal(error, folder) from error
    return files


def list_uncaptioned(folder: Path) -> list[Path]:
    """Images without a caption in `metadata.jsonl` and without a text file of their name."""
    described = _described_files(folder)
    images = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return [path for path in images if path.name not in described and not path.with_suffix(".txt").is_file()]


def _described_files(folder: Path) -> set[str]:
    """Files with a caption in `metadata.jsonl`; faults in it are found where it is checked."""
    try:
        lines = (folder / METADATA).read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return set()
    described = set()
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, Mapping) and str(row.get("caption") or row.get("text") or "").strip():
            described.add(str(row.get("file_name")))
    return described
