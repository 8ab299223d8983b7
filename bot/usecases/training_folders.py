"""The folders that trainings learn from: the owner's, copies of it with people's corrections. Blocking."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bot.errors import TrainingRefused
from bot.model_install.adapter_folders import is_adapter_name
from bot.options import clean_text
from bot.ports import NO_REPLAY, OWN_REPLAY, Correction
from bot.runtime.private_files import make_private_folder
from bot.usecases.training_orders import TrainingOrder

METADATA = "metadata.jsonl"
EXAMPLES = "examples"
"""Of a training's work folder: copies of what it learns from, where that is not one folder of the owner's."""
CORRECTIONS = "corrections.json"
_PNG = b"\x89PNG"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
"""Of images that the vision model can caption."""
COPIED_SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".tiff", ".avif", ".txt")
RESERVED = frozenset({"none", "auto"})
"""What `--adapter` means something else by."""
MAX_IMAGES = 20_000


def default_name(order: TrainingOrder) -> str:
    """From the folder's name."""
    name = Path(order.folder).name if order.folder else "corrections"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "adapter"


def require_name(name: str) -> None:
    """Raises: TrainingRefused."""
    if not is_adapter_name(name) or name in RESERVED:
        raise TrainingRefused("name", name=name[:80])


def prepare_order(order: TrainingOrder) -> TrainingOrder:
    """With resolved folders and clean words. Raises: TrainingRefused: one is not a folder that can be read."""
    if not (order.folder or order.corrections):
        raise TrainingRefused("nothing")
    folder = str(require_folder(order.folder)) if order.folder else ""
    is_folder = order.replay not in (OWN_REPLAY, NO_REPLAY)
    replay = str(require_folder(order.replay)) if is_folder else order.replay
    return replace(order, folder=folder, replay=replay, words=clean_text(order.words))


def disk_refusal(error: OSError, folder: Path) -> TrainingRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainingRefused("disk_full")
    return TrainingRefused("unwritable", folder=str(folder), detail=error.strerror or str(error))


def require_folder(path: str) -> Path:
    """Raises: TrainingRefused: it is not a folder of this machine, or cannot be read."""
    try:
        folder = Path(path).expanduser()
        if not folder.is_absolute():
            raise TrainingRefused("relative", folder=path[:200])
        if not folder.is_dir():
            raise TrainingRefused("no_folder", folder=path[:200])
        next(folder.iterdir(), None)
        return folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # no folder can have this name; "~" of nobody
        raise TrainingRefused("no_folder", folder=path[:200]) from error


def fill_folder(folder: Path, source: str, collected: Sequence[tuple[Correction, bytes]]) -> dict[str, str]:
    """Make a folder of the owner's examples, if there are any, and of corrections, whose ids by file name it returns.

    Raises: TrainingRefused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if source:
        _copy_images(Path(source), folder)
    return add_corrections(folder, collected)


def _copy_images(source: Path, target: Path) -> None:
    """Its images and their descriptions, also those in folders in it. Raises: TrainingRefused: it has too many, or the
    disk is full."""
    paths = list(islice(_list_copied(source), 2 * MAX_IMAGES + 2))
    if len(paths) > 2 * MAX_IMAGES + 1:
        raise TrainingRefused("many_examples", folder=str(source), limit=MAX_IMAGES)
    try:
        make_private_folder(target)
        for path in paths:
            copy = target / path.relative_to(source)
            make_private_folder(copy.parent)
            shutil.copyfile(path, copy)
    except OSError as error:
        raise disk_refusal(error, target) from error


def _list_copied(source: Path) -> Iterator[Path]:
    for folder, _folders, names in os.walk(source):
        for path in (Path(folder, name) for name in sorted(names)):
            is_read = path.suffix.lower() in COPIED_SUFFIXES or path == source / METADATA
            if is_read and path.is_file() and not path.is_symlink():
                yield path


def add_corrections(folder: Path, collected: Sequence[tuple[Correction, bytes]]) -> dict[str, str]:
    """Add each as an example; returns their ids by file name. Raises: TrainingRefused."""
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
        listing = folder / CORRECTIONS  # is written first: a withdrawal finds copies by it
        earlier = json.loads(listing.read_text("utf-8")) if listing.exists() else {}
        listing.write_text(json.dumps({**earlier, **files}), encoding="utf-8")
        for (_, data), name in zip(collected, files, strict=True):
            (folder / name).write_bytes(data)
        _append_lines(folder / METADATA, lines)
    except OSError as error:
        raise disk_refusal(error, folder) from error
    return files


def _append_lines(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """The owner's last line may lack its end. Raises: OSError."""
    with file.open("ab+") as opened:
        if opened.tell():
            opened.seek(-1, os.SEEK_END)
            opened.write(b"" if opened.read() == b"\n" else b"\n")
        opened.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def list_uncaptioned(folder: Path) -> list[Path]:
    """Images without a caption in `metadata.jsonl` and without a text file of their name.

    Raises: TrainingRefused: the folder cannot be read any more, or has too many.
    """
    described = _described_files(folder)
    try:
        files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
        images = [path for path in files if path.is_file() and not path.is_symlink()]
    except OSError as error:
        raise TrainingRefused("no_folder", folder=str(folder)) from error
    if len(images) > MAX_IMAGES:
        raise TrainingRefused("many_examples", folder=str(folder), limit=MAX_IMAGES)
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
