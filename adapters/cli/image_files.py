"""Reads input images from files and writes results to files. Nothing is ever overwritten."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.output import printable, program_name
from bot.errors import TooLarge, UnsupportedMedia
from bot.ports.images import is_heic

STDIN = "-"
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
_UNSUPPORTED_SUFFIXES = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"}


def read_image_file(name: str, max_mb: int, max_heic_mb: int = 0) -> bytes:
    """Read an image file, or stdin for `-`. Of its content, only whether it is HEIC is looked at here.

    Raises: BadInput, TooLarge, UnsupportedMedia.
    """
    limit = max(max_mb, max_heic_mb) * 2**20
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise BadInput(f"{printable(name)} does not exist.") from error
    except IsADirectoryError as error:
        raise BadInput(f"{printable(name)} is a folder: name an image file in it.") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{printable(name)} cannot be read: {reason_of(error)}.") from error
    most = max(max_mb, max_heic_mb) if is_heic(data) else max_mb
    if len(data) > most * 2**20:
        raise TooLarge(limit=max_mb, unit="MiB", heic_limit=max_heic_mb)
    if not data:
        raise UnsupportedMedia("empty")
    return data


@dataclass(frozen=True)
class OutputTarget:
    """Where results are written: a folder, or one file in it (numbered when there are several images)."""

    folder: Path
    name: str = ""

    def image_path(self, job_id: str, number: int, is_numbered: bool, media_type: str) -> Path:
        """`number` counts from 1."""
        suffix = SUFFIXES.get(media_type, ".bin")
        if not self.name:
            return self.folder / f"easel-{job_id}-{number}{suffix}"
        wanted = Path(self.name)
        return self.folder / f"{wanted.stem}{f'-{number}' if is_numbered else ''}{wanted.suffix or suffix}"

    def require_free_names(self, number: int) -> None:
        """Check the names of that many images before any job is submitted. Raises: BadInput."""
        for path in (self.image_path("", one, True, "image/png") for one in range(1, number + 1) if self.name):
            if path.exists():
                raise BadInput(f"{path} already exists: choose another name or move it.")


def resolve_target(out: str | None) -> OutputTarget:
    """Check the `--out` option before any job is submitted. Raises: BadInput."""
    if out is None:
        return _require_writable(OutputTarget(Path()), "The current folder")
    path = Path(out).expanduser()
    if path.is_dir():
        return _require_writable(OutputTarget(path), str(path))
    if out.endswith(("/", os.sep)):
        raise BadInput(f"The folder {out} does not exist: create it first.")
    if not path.parent.is_dir():
        raise BadInput(f"The folder {path.parent} does not exist: create it first.")
    if path.suffix.lower() in _UNSUPPORTED_SUFFIXES:
        raise BadInput(f"Images are written as PNG: name the file {path.stem}.png.")
    if path.exists():
        raise BadInput(f"{path} already exists: choose another name or move it.")
    return _require_writable(OutputTarget(path.parent, path.name), str(path.parent))


def _require_writable(target: OutputTarget, label: str) -> OutputTarget:
    if not os.access(target.folder, os.W_OK | os.X_OK):
        raise BadInput(f"{label} is not writable: choose another one with --out.")
    return target


def save_image(path: Path, data: bytes, job_id: str) -> Path:
    """Write a new file, or accept an identical existing one. Raises: Failure, which says how to get it again."""
    again = f"The image is not lost: `{program_name()} fetch {job_id} --out FOLDER` writes it to another folder."
    try:
        with open(path, "xb") as file:
            try:
                file.write(data)
                file.flush()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        if path.is_file() and path.read_bytes() == data:
            return path
        raise Failure(f"{path} already exists and was not overwritten. {again}") from error
    except OSError as error:
        raise Failure(f"{path} could not be written: {reason_of(error)}. {again}", code="storage_full") from error
    return path


def reason_of(error: Exception) -> str:
    """The operating system's reason, worded as part of a sentence."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason[:1].lower() + reason[1:]
