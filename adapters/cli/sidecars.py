"""Captions in text files beside their images: `caption --write-sidecars`. What is there is never overwritten."""

import errno
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.file_arguments import InputFile
from adapters.cli.image_files import STDIN, reason_of
from adapters.cli.output import print_note, printable

SUFFIX = ".txt"


def sidecar_of(name: str) -> Path:
    return Path(name).with_suffix(SUFFIX)


def plan_sidecars(files: Sequence[InputFile]) -> list[InputFile]:
    """The files that have no sidecar yet: an interrupted command goes on where it stopped. What can have none is an
    error, before it is described."""
    left = [file for file in files if file.error is not None or not _has_sidecar(file.name)]
    if skipped := len(files) - len(left):
        print_note(f"{skipped} image{'' if skipped == 1 else 's'} had a text file already.")
    return list(_refuse_impossible({Path(file.name): file for file in left}.values()))


def _has_sidecar(name: str) -> bool:
    return name not in ("", STDIN) and os.path.lexists(sidecar_of(name))


def _refuse_impossible(files: Iterable[InputFile]) -> Iterable[InputFile]:
    first: dict[Path, str] = {}
    for file in files:
        problem = "" if file.error is not None else _problem_of(file.name, first)
        yield replace(file, error=BadInput(problem)) if problem else file


def _problem_of(name: str, first: dict[Path, str]) -> str:
    """`first`: the image of each text file so far."""
    if name == STDIN:
        return "An image from standard input has no name, so no text file: give files or folders."
    if not name:
        return ""  # the file does not exist
    path = sidecar_of(name)
    other = first.setdefault(path, name)
    if other != name:
        return f"{printable(name)} would have the same text file as {printable(other)}: rename one of them."
    if path.parent.is_dir() and not _is_writable(path.parent):
        return f"{printable(name)} cannot have a text file: its folder is not writable."
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def write_sidecar(name: str, text: str) -> Path:
    """Complete or absent, also if the program is killed or the power fails. Raises: Failure."""
    path = sidecar_of(name)
    part = path.with_name(f".easel-{secrets.token_hex(6)}.part")
    try:
        with open(part, "x", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        _move_new(part, path)
    except FileExistsError as error:
        raise Failure(f"{printable(str(path))} already exists and was not overwritten.") from error
    except OSError as error:
        raise Failure(
            f"{printable(str(path))} could not be written: {reason_of(error)}.", code="storage_full"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def _move_new(part: Path, path: Path) -> None:
    """Never over a file that exists, unlike a rename. Raises: OSError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links, such as that of a memory card
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        part.rename(path)
