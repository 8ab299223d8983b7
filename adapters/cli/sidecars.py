"""Captions in text files beside their images: `caption --write-sidecars`. What is there is never overwritten."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from adapters.cli.error_output import Failure
from adapters.cli.file_arguments import InputFile
from adapters.cli.image_files import STDIN, reason_of
from adapters.cli.output import print_note, printable

SUFFIX = ".txt"


def sidecar_of(name: str) -> Path:
    return Path(name).with_suffix(SUFFIX)


def skip_described(files: Sequence[InputFile]) -> list[InputFile]:
    """The files that have no sidecar yet: an interrupted command goes on where it stopped."""
    left = [file for file in files if file.error is not None or not _has_sidecar(file.name)]
    if skipped := len(files) - len(left):
        print_note(f"{skipped} image{'' if skipped == 1 else 's'} had a text file already.")
    return left


def _has_sidecar(name: str) -> bool:
    return name != STDIN and os.path.lexists(sidecar_of(name))


def write_sidecar(name: str, text: str) -> Path:
    """Complete or absent, also if the program is killed. Raises: Failure."""
    if name == STDIN:
        raise Failure("An image from standard input has no name, so no text file: give files or folders.")
    path = sidecar_of(name)
    part = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False) as file:
            part = Path(file.name)
            file.write(f"{text}\n")
        part.chmod(0o666 & ~_umask())
        os.link(part, path)  # fails if it exists, unlike a rename
    except FileExistsError as error:
        raise Failure(f"{printable(str(path))} already exists and was not overwritten.") from error
    except OSError as error:
        raise Failure(
            f"{printable(str(path))} could not be written: {reason_of(error)}.", code="storage_full"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
