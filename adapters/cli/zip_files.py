"""The zip that `easel export` writes: complete, or not there at all."""

import asyncio
import os
import re
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.image_files import reason_of
from adapters.cli.options import parse_job_id
from adapters.cli.output import print_json, print_line, print_note

_NUMBER = re.compile("[1-9][0-9]{0,2}|1000")


def require_new_zip(name: str) -> Path:
    """Raises: BadInput."""
    path = Path(name).expanduser()
    if path.suffix.lower() != ".zip":
        raise BadInput(f"{name} is no name of a zip file: name it {path.name or 'easel'}.zip, for example.")
    if os.path.lexists(path):
        raise BadInput(f"{path} already exists: choose another name or move it.")
    if not path.parent.is_dir():
        raise BadInput(f"The folder {path.parent} does not exist: create it first.")
    return path


def parse_pictures(jobs: Sequence[str]) -> tuple[list[str] | None, list[tuple[str, int]]]:
    """Jobs, and single pictures written JOB/2; no jobs at all: None. Raises: BadInput."""
    chosen: list[str] = []
    pictures: list[tuple[str, int]] = []
    for text in jobs:
        job, slash, number = text.partition("/")
        job = parse_job_id(job)
        if not slash:
            chosen.append(job)
        elif _NUMBER.fullmatch(number):
            pictures.append((job, int(number)))
        else:
            raise BadInput(f"{text} names no image: write {job}/1 for the first image of that job.")
    return chosen or None, pictures


async def write_zip(chunks: AsyncIterator[bytes], path: Path, *, as_json: bool) -> int:
    """Write the file and print its path. Raises: Failure: it cannot be written, or there are no images."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with await asyncio.to_thread(open, part, "xb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        names = await asyncio.to_thread(_list_names, part)
        _publish(part, path, names)
    except OSError as error:
        raise Failure(f"{path} could not be written: {reason_of(error)}.", code="storage_full") from error
    finally:
        part.unlink(missing_ok=True)
    _print_result(path, names, as_json=as_json)
    return 0


def _publish(part: Path, path: Path, names: list[str]) -> None:
    """Nothing that appeared meanwhile is overwritten."""
    if not names:
        raise Failure("There are no images to export.", code="not_found")
    try:
        os.link(part, path)
    except FileExistsError:
        raise Failure(f"{path} already exists and was not overwritten.") from None
    except OSError:  # a file system without links
        part.rename(path)


def _list_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _print_result(path: Path, names: list[str], *, as_json: bool) -> None:
    details = sum(name.endswith(".json") for name in names)
    images = len(names) - details
    if as_json:
        print_json({"file": str(path), "images": images, "left_out": details - images})
        return
    print_line(str(path))
    if details > images:
        print_note(f"{details - images} of {details} images are gone or may not be shown: only their JSON is in it.")
