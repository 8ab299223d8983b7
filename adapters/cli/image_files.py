"""Pictures from and to files: the ones handed over, and where results go. Nothing is ever overwritten."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.output import program
from bot.errors import TooLarge, UnsupportedMedia

STDIN = "-"
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
_OTHER_SUFFIXES = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"}


def read_picture(name: str, max_mb: int) -> bytes:
    """The bytes of a picture file, or of stdin for `-`; whether it is a picture is for others to say.

    Raises: BadInput, TooLarge, UnsupportedMedia.
    """
    limit = max_mb * 2**20
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise BadInput(f"There is no file {name}.") from error
    except IsADirectoryError as error:
        raise BadInput(f"{name} is a folder: name a picture in it.") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{name} cannot be read: {_why(error)}.") from error
    if len(data) > limit:
        raise TooLarge(limit=max_mb, unit="MiB")
    if not data:
        raise UnsupportedMedia("empty")
    return data


@dataclass(frozen=True)
class Target:
    """Where results go: a folder, or one file there (numbered when there are several pictures)."""

    folder: Path
    name: str = ""

    def path(self, job_id: str, number: int, several: bool, media_type: str) -> Path:
        """`number` counts from 1."""
        suffix = SUFFIXES.get(media_type, ".bin")
        if not self.name:
            return self.folder / f"easel-{job_id}-{number}{suffix}"
        wished = Path(self.name)
        return self.folder / f"{wished.stem}{f'-{number}' if several else ''}{wished.suffix or suffix}"


def find_target(out: str | None) -> Target:
    """What `--out` names, checked before anything is asked for. Raises: BadInput."""
    if out is None:
        return _checked(Target(Path()), "This folder")
    path = Path(out).expanduser()
    if path.is_dir():
        return _checked(Target(path), str(path))
    if out.endswith(("/", os.sep)):
        raise BadInput(f"There is no folder {out} for the pictures: make it first.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent} for the pictures: make it first.")
    if path.suffix.lower() in _OTHER_SUFFIXES:
        raise BadInput(f"Pictures are written as PNG: call the file {path.stem}.png.")
    if path.exists():
        raise BadInput(f"{path} is there already: choose another name, or move it away.")
    return _checked(Target(path.parent, path.name), str(path.parent))


def _checked(target: Target, shown: str) -> Target:
    if not os.access(target.folder, os.W_OK | os.X_OK):
        raise BadInput(f"{shown} cannot be written to: choose another place with --out.")
    return target


def save(path: Path, data: bytes, job_id: str) -> Path:
    """Write a new file, or find the very same one written before. Raises: Failure, which says how to get it again."""
    again = f"The picture is kept: `{program()} fetch {job_id} --out FOLDER` writes it elsewhere."
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
        raise Failure(f"{path} is there already and was left as it is. {again}") from error
    except OSError as error:
        raise Failure(f"{path} could not be written: {_why(error)}. {again}", code="storage_full") from error
    return path


def _why(error: Exception) -> str:
    """The system's own reason, as a part of a sentence."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason[:1].lower() + reason[1:]
